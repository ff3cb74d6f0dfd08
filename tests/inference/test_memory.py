import json
import subprocess
import sys

import pytest

# Its own process, so that what other tests allocated does not count. ru_maxrss is in KiB on Linux, bytes on macOS.
SCRIPT = """
import json, resource, sys, time
from types import SimpleNamespace
import numpy as np
import torch
from torch import nn
from deeplab.inference.probabilities import Inference
from deeplab.models.mobilenet import MobileNetV2

class Network(nn.Module):
    num_classes, output_stride, size_multiple = 21, 16, 16
    input = SimpleNamespace(pad_rgb=(124.0, 116.0, 104.0))

    def __init__(self):
        super().__init__()
        self.backbone = MobileNetV2(16, width=0.35)
        self.head = nn.Conv2d(self.backbone.out_channels, 21, 1)

    def forward(self, image):
        return self.head(self.backbone(image / 128 - 1))

torch.manual_seed(0)
network = Network().eval()
for layer in network.modules():
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight)  # else the features vanish and one class is everywhere
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8).repeat(100, 0).repeat(100, 1)
start = time.perf_counter()
labels = Inference().labels(network, image)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "shape": list(labels.shape),
    "classes": len(labels.unique()),
    "imports": before * unit,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    "seconds": time.perf_counter() - start,
}))
"""


@pytest.mark.slow
def test_a_picture_of_48_megapixels_stays_under_4_gb():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    print(report)
    assert report["shape"] == [6000, 8000]
    assert report["classes"] > 1
    # The whole picture's probabilities alone would be 21 * 6000 * 8000 * 4 bytes = 4.03e9.
    assert report["peak"] < 2e9
