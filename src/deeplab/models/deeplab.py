"""DeepLab: an image to the logits of every class, at the backbone's output stride (section 3.1)."""

from collections.abc import Callable

from torch import Tensor, nn

from deeplab.models.image_input import ImageInput


class DeepLab(nn.Module):
    """Input convention, backbone and head in a row: RGB image (B, 3, h, w), float 0..255 -> logits (B, K, h/s, w/s).

    Args:
        input: brings the image into the form the backbone's weights expect.
        backbone: image -> features; has `out_channels` and `output_stride`.
        head: called as head(in_channels=..., num_classes=...); features -> logits.
        num_classes: K, the background included.

    `size_multiple` m: pictures whose sides are m*k + 1 have logits exactly on the grid of every s-th pixel.
    """

    input: ImageInput
    backbone: nn.Module
    head: nn.Module

    def __init__(
        self, input: ImageInput, backbone: nn.Module, head: Callable[..., nn.Module], num_classes: int
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}: give the number of classes, the background included.")
        self.input = input
        self.backbone = backbone
        self.head = head(in_channels=backbone.out_channels, num_classes=num_classes)
        self.num_classes = num_classes
        self.output_stride = int(backbone.output_stride)  # type: ignore[arg-type]
        self.size_multiple = self.output_stride

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(self.input(image)))
        return logits

    def scale_logits(self, image: Tensor) -> dict[str, Tensor]:
        """Return what the loss is taken on: {"fused": logits}, as `MultiScale.scale_logits` with one scale."""
        return {"fused": self(image)}
