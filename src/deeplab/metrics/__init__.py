"""Confusion matrix and what is computed from it."""
