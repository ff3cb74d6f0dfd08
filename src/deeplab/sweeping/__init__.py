"""Sweeps: every job in a process of its own, on this machine or in Slurm's queue, so that none can harm another."""
