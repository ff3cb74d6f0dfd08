"""Cross-validation of the CRF's parameters (section 4.1)."""
