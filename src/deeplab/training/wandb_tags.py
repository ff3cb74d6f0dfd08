"""Tags of a run: what it was started with, so that runs can be told apart and filtered."""

from collections.abc import Mapping
from typing import Any

# Parts of a path, secrets of a place, and what names a run say nothing about what varies.
LEFT_OUT = ("name", "paper", "resume", "rerun_of", "logger", "hydra", "callbacks", "trainer.options")
SHOWN_GROUPS = ("experiment", "model/backbone", "model/head", "model/multi_scale", "data", "crf")
LONGEST = 64  # W&B refuses longer ones


def automatic_tags(facts: Mapping[str, Any]) -> list[str]:
    """Return tags for a `run.json`: the main choices, as `aspp_s`, and what was given besides, as `optim.lr=0.01`."""
    choices = facts.get("choices", {})
    tags = [str(choices[group]) for group in SHOWN_GROUPS if choices.get(group) not in (None, "none")]
    for override in facts.get("overrides", []):
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        if key in choices:
            tags.append(value)
        elif not key.startswith(LEFT_OUT) and "/" not in value and "\\" not in value:
            tags.append(f"{key}={value}")
    return [tag for tag in dict.fromkeys(tags) if 0 < len(tag) <= LONGEST]
