"""Atrous conversion: stop downsampling at a chosen output stride, dilate what follows (section 3.1).

A layer of stride s whose stride is taken out leaves its own dilation as it is and multiplies the dilation of every
later layer by s; so the dense features, subsampled, are the original network's features.
"""

OUTPUT_STRIDES = (4, 8, 16, 32)


class AtrousPlan:
    """Walks through a backbone from input to output and says which stride and dilation each layer gets.

    `stride` and `dilation` hold what has been reached so far.

    Raises ValueError for an output stride other than 4, 8, 16 or 32.
    """

    def __init__(self, output_stride: int) -> None:
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output_stride={output_stride}: choose one of {OUTPUT_STRIDES}.")
        self.output_stride = output_stride
        self.stride = 1
        self.dilation = 1

    def downsample(self, stride: int) -> int:
        """Pass a layer of the given stride; return the stride it keeps (1 once the output stride is reached)."""
        if self.stride * stride <= self.output_stride:
            self.stride *= stride
            return stride
        self.dilation *= stride
        return 1
