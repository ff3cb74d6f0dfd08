"""From the command line to built parts: schema, preflight of every `_target_`, build functions."""
