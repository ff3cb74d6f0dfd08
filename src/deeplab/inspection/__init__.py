"""Looking at a data set before it is used: every file read, every label counted."""
