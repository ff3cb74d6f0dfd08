"""What tiles change and cost: agreement with the whole picture over the overlap, and peak memory.

    python benchmarks/tiles.py [--checkpoint FILE] [--image FILE] [--height 1024] [--width 2048] [--tile 1025]
                               [--overlaps 0 128 256 512] [--classes 19] [--threads 2]
    python benchmarks/tiles.py --memory [...]

Agreement: the share of pixels with the same most probable class, and the largest difference of a probability. Without
--checkpoint a ResNet-101 with ASPP-L at output stride 8 takes random weights, the last factor of each block at 0.1 and
batch statistics from the picture, as its features would otherwise die or explode; its classes mean nothing, so it
shows how far the tiles' borders reach rather than what a user would lose. An image that is smaller is enlarged.

Memory: peak beyond what the process held before, each in a process of its own: one pass over a picture of a tile's
size, and the whole picture in tiles (target: 1.3 times the first and the output).
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from deeplab.data.reading import read_picture
from deeplab.data.scene_drawing import draw_scene
from deeplab.inference.probabilities import Inference
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import DirectASPP
from deeplab.models.image_input import ImageInput
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import Bottleneck, ResNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=1025)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[0, 128, 256, 512])
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", choices=["tile", "tiles"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(_peak(options))
    elif options.memory:
        _memory(options)
    else:
        _agreement(options)


def _agreement(options: argparse.Namespace) -> None:
    image = _image(options)
    network = _network(options, image)
    start = time.perf_counter()
    whole = Inference(max_pixels=10**9).probabilities(network, image)
    print(f"{image.shape[1]} x {image.shape[0]}, {options.checkpoint or 'ResNet-101'}, tiles up to {options.tile}")
    classes = len(np.unique(whole.argmax(0)))
    print(f"whole picture        {time.perf_counter() - start:6.1f} s, {classes} classes predicted")
    for overlap in options.overlaps:
        start = time.perf_counter()
        tiled = Inference(max_pixels=1, tile=options.tile, overlap=overlap).probabilities(network, image)
        same = 100 * (tiled.argmax(0) == whole.argmax(0)).float().mean().item()
        print(
            f"overlap {overlap:4d}         {time.perf_counter() - start:6.1f} s  same label {same:8.4f} %  "
            f"largest difference {(tiled - whole).abs().max().item():.2e}"
        )


def _memory(options: argparse.Namespace) -> None:
    peaks = {}
    for part in ("tile", "tiles"):
        command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", part]
        peaks[part] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    output = options.classes * options.height * options.width * 4 / 1e6
    print(f"one pass over {options.tile} x {options.tile}      {peaks['tile']:7.0f} MB")
    size = f"{options.width} x {options.height}"
    print(f"{size} in tiles       {peaks['tiles']:7.0f} MB, the output's {output:.0f} MB included")
    print(f"(whole - output) / one pass   {(peaks['tiles'] - output) / peaks['tile']:7.2f}   (target 1.3)")


def _peak(options: argparse.Namespace) -> float:
    image = _image(options)
    network = _network(options, image[:64, :64])
    overlap = options.overlaps[-1]
    inference = Inference(max_pixels=1, tile=options.tile, overlap=overlap)
    inference.probabilities(network, image[:33, :33])  # what is loaded once does not count
    picture = image[: options.tile, : options.tile] if options.peak_of == "tile" else image
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    result = inference.probabilities(network, picture)
    assert result.shape[1:] == picture.shape[:2]
    return (max(_status("VmHWM"), before) - before) / 1e6


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def _image(options: argparse.Namespace) -> np.ndarray:
    if options.image:
        picture = read_picture(options.image)
        return np.asarray(cv2.resize(picture, (options.width, options.height)), dtype=np.uint8)
    return np.ascontiguousarray(draw_scene(0, 0, height=options.height, width=options.width)[0])


def _network(options: argparse.Namespace, image: np.ndarray) -> DeepLab | MultiScale:
    if options.checkpoint:
        from deeplab.config.from_checkpoint import load_checkpoint, rebuild_network

        config, tensors = load_checkpoint(options.checkpoint)
        return rebuild_network(config, tensors, options.checkpoint)
    torch.manual_seed(0)
    rgb = ImageInput("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    backbone = ResNet(101, 8)
    network = DeepLab(rgb, backbone, DirectASPP, options.classes)
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        if isinstance(layer, Bottleneck):
            nn.init.constant_(layer.bn3.weight, 0.1)
    for layer in network.head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
    _calibrate(network, image)
    return network.eval()


def _calibrate(network: DeepLab, image: np.ndarray) -> None:
    """Batch statistics of a smaller copy of the picture become those of the network."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    small = torch.from_numpy(image[::2, ::2].copy()).permute(2, 0, 1)[None].float()
    height, width = ((n - 1) // network.size_multiple * network.size_multiple + 1 for n in small.shape[-2:])
    with torch.no_grad():
        network.train()(small[..., :height, :width])


if __name__ == "__main__":
    main()
