"""DeepLab v2: atrous convolution, atrous spatial pyramid pooling, fully connected CRF (arXiv 1606.00915)."""

__version__ = "0.1.0"
