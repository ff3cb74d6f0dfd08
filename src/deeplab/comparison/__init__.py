"""Runs compared: read from their folders, grouped over seeds, with intervals; one document that all views take."""
