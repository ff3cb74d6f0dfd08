"""Sweeps on one machine: every job in a process of its own, so that none can harm another."""
