"""The fully connected CRF (section 3.3); stands alone: numpy and torch, nothing else of this project."""
