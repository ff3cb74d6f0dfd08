"""The mean field on an NVIDIA GPU by Triton kernels: one lattice for a batch of pictures, from scores to marginals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from deeplab.crf.cuda_lattice import CudaLattice, build_lattice, feature_ranges, plan_keys
from deeplab.crf.cuda_launch import INTERPRETED, row_length
from deeplab.crf.cuda_mean_field import CudaMeanField, Planes
from deeplab.crf.cuda_picture import CudaPicture, check_values, enlarged, halved, make_picture, pixel_source, pruned
from deeplab.crf.kernels import Kernel
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import Refinement

MAX_LABELS = 4096  # a pixel's labels are in the registers of one program
CHUNK = 80_000_000  # pixels times labels refined at once: 16 pictures of VOC's size with 21 labels

# One lattice of each kind of kernel, with what it was built for.
KeptLattices: TypeAlias = dict[type, tuple[object, CudaLattice]]


def refine_all(
    scores: Sequence[Any],
    images: Sequence[Any],
    params: CRFParams,
    kernels: tuple[Kernel, ...] = (),
    initials: Sequence[Any] | None = None,
    trace: bool = False,
    kept: KeptLattices | None = None,
) -> list[Refinement]:
    """Refine pictures of any sizes; the marginals are tensors on the device, in the order of the pictures.

    scores: (K, H, W) arrays or tensors; images: (H, W, 3) uint8 or None; initials: marginals to start from, or None.
    kernels: the kernels of non-zero weight, for every picture.
    kept: lattices of earlier calls with the same picture, one alone; they are used, and replaced where they do not fit.
    A picture's answer is the same bit for bit whatever pictures are refined with it.

    Raises:
        ValueError: for what does not fit, features that span too many standard deviations, and over MAX_LABELS labels.
    """
    if not scores:
        return []
    device = device_of(scores)
    begin = [None] * len(scores) if initials is None else initials
    with torch.no_grad(), nullcontext() if device.type == "cpu" else torch.cuda.device(device):
        pictures = [
            make_picture(each, image, params, kernels, initial, device)
            for each, image, initial in zip(scores, images, begin, strict=True)
        ]
        check_values(pictures)
        if params.prune_below > 0:
            pictures = [pruned(picture) for picture in pictures]
        if not params.half_resolution:
            return _refined(pictures, trace, kept)
        small = [halved(picture) for picture in pictures]
        results = _refined(small, trace, kept)
        return [
            Refinement(enlarged(half, result.marginals, full), result.iterations, result.energies, result.divergences)
            for half, result, full in zip(small, results, pictures, strict=True)
        ]


def device_of(scores: Sequence[Any]) -> torch.device:
    """Return the device on which scores are refined: theirs, or the current GPU for arrays."""
    for each in scores:
        if getattr(each, "is_cuda", False):
            return torch.device(each.device)
    return torch.device("cpu" if INTERPRETED else "cuda")


def _refined(pictures: Sequence[CudaPicture], trace: bool, kept: KeptLattices | None) -> list[Refinement]:
    results: dict[int, Refinement] = {}
    for chunk in _chunks(pictures, alone=trace or pictures[0].params.tolerance > 0):
        for number, result in zip(chunk, _chunk([pictures[i] for i in chunk], trace, kept), strict=True):
            results[number] = result
    return [results[i] for i in range(len(pictures))]


def _chunks(pictures: Sequence[CudaPicture], alone: bool) -> Iterator[list[int]]:
    """Yield the numbers of pictures to refine together: as many labels each, and not too many pixels in all."""
    groups: dict[Any, list[int]] = {}
    for number, picture in enumerate(pictures):
        # A matrix of penalties is cut to the labels that take part.
        same = picture.labels if picture.params.compatibility else len(picture.labels)
        groups.setdefault((same, picture.initial is None, number if alone else 0), []).append(number)
    for group in groups.values():
        S = row_length(len(pictures[group[0]].labels))
        room, chunk = CHUNK, list[int]()
        for number in group:
            size = pictures[number].scores[0].numel() * S
            if chunk and size > room:
                yield chunk
                room, chunk = CHUNK, []
            chunk.append(number)
            room -= size
        yield chunk


def _chunk(pictures: Sequence[CudaPicture], trace: bool, kept: KeptLattices | None) -> list[Refinement]:
    K = len(pictures[0].labels)
    if K > MAX_LABELS:
        raise ValueError(f"{K} labels: the cuda backend takes at most {MAX_LABELS}, choose backend='native' or 'torch'")
    terms = _terms(pictures, kept)
    if terms is None:  # numbers for the lattice points of so many pictures would be too large
        half = len(pictures) // 2
        return _chunk(pictures[:half], trace, None) + _chunk(pictures[half:], trace, None)
    planes = [Planes(picture.scores, picture.initial, picture.labels) for picture in pictures]
    result = CudaMeanField(planes, pictures[0].params, terms).run(trace)
    rest = (result.iterations, result.energies, result.divergences)
    return [Refinement(marginals, *rest) for marginals in result.marginals]


def _terms(pictures: Sequence[CudaPicture], kept: KeptLattices | None = None) -> list[tuple[float, CudaLattice]] | None:
    symmetric = pictures[0].params.normalization == "symmetric"
    terms = []
    for slot, kernel in enumerate(pictures[0].kernels):
        key = (replace(kernel, weight=1.0), symmetric, pictures[0].scores.shape[1:]) if kept is not None else None
        if kept is not None and type(kernel) in kept and kept[type(kernel)][0] == key:
            terms.append((kernel.weight, kept[type(kernel)][1]))
            continue
        if kept is not None:
            kept.pop(type(kernel), None)  # before the next one is built: they are large
        lattice = _lattice([picture.kernels[slot] for picture in pictures], pictures, symmetric)
        if lattice is None:
            return None
        if kept is not None:
            kept[type(kernel)] = key, lattice
        terms.append((kernel.weight, lattice))
    return terms


def _lattice(kernels: Sequence[Kernel], pictures: Sequence[CudaPicture], symmetric: bool) -> CudaLattice | None:
    sources = [pixel_source(kernel, picture) for kernel, picture in zip(kernels, pictures, strict=True)]
    N = sum(source.num_pixels for source in sources)
    ranges = feature_ranges(kernels[0], sources)
    if N * (len(ranges) + 1) >= 1 << 31:
        raise ValueError("the picture has too many pixels for one lattice: refine it in parts")
    plan = plan_keys(ranges, len(sources))
    if plan is None:
        return None
    return build_lattice(kernels[0], sources, plan, symmetric, pictures[0].scores.device)
