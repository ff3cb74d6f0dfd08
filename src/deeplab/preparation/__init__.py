"""Making data sets ready: archives downloaded and unpacked, annotations of all kinds turned into masks."""
