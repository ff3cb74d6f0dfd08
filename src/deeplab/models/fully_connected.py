"""fc6 and fc7 of a head from those of the ImageNet VGG-16, as the paper's networks start.

The classification network has fc6 of 4096 filters over 7x7x512 and fc7 of 4096 over 4096. DeepLab subsamples fc6 in
space by decimation (section 3.1 of version 1, arXiv 1412.7062) and keeps a random subset of 1024 filters (section 4.1.1
of version 2; which ones is not known: here they are drawn with a seed).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SEED = 0


def decimated(kernel: Tensor, size: int) -> Tensor:
    """Take `size` x `size` taps, evenly spaced from edge to edge, of a kernel (out, in, k, k)."""
    full, last = kernel.shape[-1], max(size - 1, 1)
    taps = [full // 2] if size == 1 else [(2 * tap * (full - 1) + last) // (2 * last) for tap in range(size)]
    return kernel[:, :, taps][:, :, :, taps]


def subset(total: int, wanted: int, seed: int) -> Tensor:
    """Return `wanted` of `total` filters, drawn without repetition, in rising order."""
    if wanted == total:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:wanted].sort().values


def subsampled(fc: Mapping[str, Tensor], kernel_size: int, filters: int, seed: int = SEED) -> dict[str, Tensor]:
    """Return "fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias" for a smaller head.

    fc7 keeps the inputs that fc6 kept as outputs, and a subset of its own outputs. Fully connected weights (out, in)
    are taken as the convolutions that they are on a window of the features.

    Raises ValueError where the given tensors are smaller than what is wanted, or no such layers.
    """
    fc6, fc7 = _as_kernel(fc["fc6.weight"], 512), _as_kernel(fc["fc7.weight"], fc["fc6.weight"].shape[0])
    if len(fc6) < filters or len(fc7) < filters or fc6.shape[-1] < kernel_size or fc7.shape[-1] != 1:
        raise ValueError(
            f"fc6 {tuple(fc['fc6.weight'].shape)} and fc7 {tuple(fc['fc7.weight'].shape)} cannot be subsampled to "
            f"{filters} filters of {kernel_size}x{kernel_size}"
        )
    kept6, kept7 = subset(len(fc6), filters, seed), subset(len(fc7), filters, seed + 1)
    return {
        "fc6.weight": decimated(fc6, kernel_size)[kept6].clone(),
        "fc6.bias": fc["fc6.bias"][kept6].clone(),
        "fc7.weight": fc7[kept7][:, kept6].clone(),
        "fc7.bias": fc["fc7.bias"][kept7].clone(),
    }


def _as_kernel(weight: Tensor, in_channels: int) -> Tensor:
    if weight.ndim == 4:
        return weight
    side = round((weight.shape[-1] / in_channels) ** 0.5)
    if weight.ndim != 2 or in_channels * side * side != weight.shape[1]:
        raise ValueError(f"fully connected weights {tuple(weight.shape)} do not see windows of {in_channels} channels")
    return weight.reshape(len(weight), in_channels, side, side)


def fit_fully_connected(
    given: Mapping[str, Tensor], targets: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], str | None]:
    """Bring "head.fc6..." and "head.fc7..." of a file to the head of a network.

    They are subsampled where the head's are smaller, and given to every branch of a head of several ("branches.N").
    Returns all tensors by name, and a sentence on what was done; where the head has no fc6 or the file lacks one of
    the four tensors, the tensors as they are and None.

    Raises ValueError where they cannot be brought to the head's shapes.
    """
    names = [f"{layer}.{kind}" for layer in ("fc6", "fc7") for kind in ("weight", "bias")]
    branches = sorted({name.removesuffix("fc6.weight") for name in targets if name.endswith("fc6.weight")})
    if not branches or any(f"head.{name}" not in given for name in names):
        return dict(given), None
    fc = {name: given[f"head.{name}"] for name in names}
    wanted = targets[f"{branches[0]}fc6.weight"]
    if branches == ["head."] and all(tensor.shape == targets[f"head.{name}"].shape for name, tensor in fc.items()):
        return dict(given), None
    try:
        fitted = subsampled(fc, wanted.shape[-1], wanted.shape[0])
    except ValueError as error:
        raise ValueError(f"{source}: {error}; choose a head that is not larger than the file's.") from error
    rest = {name: tensor for name, tensor in given.items() if name.removeprefix("head.") not in fc}
    done = (
        f"fc6 and fc7: {wanted.shape[0]} of {fc['fc6.weight'].shape[0]} filters, {wanted.shape[-1]}x{wanted.shape[-1]}"
    )
    if len(branches) > 1:
        done += f", the same in all {len(branches)} branches"
    return rest | {f"{branch}{name}": tensor for branch in branches for name, tensor in fitted.items()}, done
