"""Run by test_cuda_interpreted.py: refines the pictures of one pickle into another by Triton's interpreter."""

import os
import pickle
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # must be there before triton is imported

import torch

from deeplab.crf import DenseCRF


def main(given: Path, answers: Path) -> None:
    torch.set_num_threads(1)
    results = {}
    for name, (params, kernels, pictures) in pickle.loads(given.read_bytes()).items():
        crf = DenseCRF(params, "cuda", kernels=kernels)
        try:
            results[name] = crf.batch([probs for probs, _ in pictures], [image for _, image in pictures])
        except ValueError as error:
            results[name] = str(error)
    answers.write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
