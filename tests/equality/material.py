"""Weights, pictures and labels drawn by numpy alone: the same here and beside kazuto1011/deeplab-pytorch."""

from collections.abc import Iterator

import numpy as np

BLOCKS = {"small": (1, 1, 1, 1), "resnet101": (3, 4, 23, 3)}
BATCH = {"small": 4, "resnet101": 2}  # pictures a step, in two parts
CLASSES = 21
SIDE = 65  # 32k + 1
PICTURE = 129
STEPS = 20
RATE = 2.5e-4


def kazuto_state(blocks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A state dict under that repository's names; the last gamma of each block is 0.1, so that nothing explodes."""
    draw = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def unit(name: str, out: int, into: int, size: int, gamma: float = 1.0) -> None:
        weight = draw.standard_normal((out, into, size, size), dtype=np.float32)
        state[f"{name}.conv.weight"] = weight * np.float32((2 / (into * size * size)) ** 0.5)
        state[f"{name}.bn.weight"] = np.full(out, gamma, np.float32)
        state[f"{name}.bn.bias"] = 0.1 * draw.standard_normal(out, dtype=np.float32)
        state[f"{name}.bn.running_mean"] = 0.1 * draw.standard_normal(out, dtype=np.float32)
        state[f"{name}.bn.running_var"] = draw.uniform(0.8, 1.25, out).astype(np.float32)

    unit("base.layer1.conv1", 64, 3, 7, gamma=0.02)  # pictures of 0..255
    channels = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(count):
            name = f"base.layer{stage + 2}.block{block + 1}"
            unit(f"{name}.reduce", width, channels, 1)
            unit(f"{name}.conv3x3", width, width, 3)
            unit(f"{name}.increase", 4 * width, width, 1, gamma=0.1)
            if block == 0:
                unit(f"{name}.shortcut", 4 * width, channels, 1)
            channels = 4 * width
    for branch in range(4):
        state[f"base.aspp.c{branch}.weight"] = 0.01 * draw.standard_normal((CLASSES, channels, 3, 3), dtype=np.float32)
        state[f"base.aspp.c{branch}.bias"] = 0.1 * draw.standard_normal(CLASSES, dtype=np.float32)
    return state


def picture(side: int = PICTURE, seed: int = 1) -> np.ndarray:
    """Smooth blobs with noise, RGB uint8 (side, side, 3)."""
    draw = np.random.default_rng([seed, side])
    y, x = np.mgrid[:side, :side] / side
    waves = [
        np.sin(2 * np.pi * (draw.uniform(0.5, 3) * x + draw.uniform(0.5, 3) * y + draw.uniform())) for _ in range(3)
    ]
    return np.clip(128 + 80 * np.stack(waves, -1) + draw.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)


def label(side: int, seed: int) -> np.ndarray:
    """Rectangles of classes with void, int64 (side, side)."""
    draw = np.random.default_rng([seed, side, 7])
    result = np.zeros((side, side), np.int64)
    for value in [*draw.integers(0, CLASSES, 8), 255]:
        top, left = draw.integers(0, side - 8, 2)
        height, width = draw.integers(4, side // 2, 2)
        result[top : top + height, left : left + width] = value
    return result


def batches(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """STEPS batches of pictures (count, SIDE, SIDE, 3) with labels (count, SIDE, SIDE)."""
    for step in range(STEPS):
        seeds = [10 + count * step + n for n in range(count)]
        yield np.stack([picture(SIDE, seed) for seed in seeds]), np.stack([label(SIDE, seed) for seed in seeds])
