"""Networks: backbones with a chosen output stride, the heads of the paper, multi-scale inputs."""
