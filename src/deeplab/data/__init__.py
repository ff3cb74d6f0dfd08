"""Data sets, one file a layout on disk; the training transforms; the DataModule."""
