"""Run by test_cuda_interpreted.py: refines the pictures of one pickle into another by Triton's interpreter."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # must be there before triton is imported

import torch

from deeplab.crf import CRFParams, DenseCRF, cuda_backend
from deeplab.crf.many_parameters import ManyParameters


def one_after_the_other(settings: list[CRFParams], probs: Any, image: Any) -> dict[str, Any]:
    """Marginals and labels of each setting, and the lattices built for them, by kind of kernel."""
    built: list[str] = []
    build = cuda_backend.build_lattice

    def counted(kernel: Any, *rest: Any) -> Any:
        built.append(type(kernel).__name__)
        return build(kernel, *rest)

    cuda_backend.build_lattice = counted
    many = ManyParameters(probs, image, "cuda")
    marginals = [many(each) for each in settings]
    labels = [many.labels(each) for each in settings[-1:]]
    cuda_backend.build_lattice = build
    return {"marginals": marginals, "labels": labels, "built": built}


def main(given: Path, answers: Path) -> None:
    torch.set_num_threads(1)
    results = {}
    for name, (params, kernels, pictures) in pickle.loads(given.read_bytes()).items():
        if isinstance(params, list):
            results[name] = one_after_the_other(params, *pictures[0])
            continue
        crf = DenseCRF(params, "cuda", kernels=kernels)
        try:
            results[name] = crf.batch([probs for probs, _ in pictures], [image for _, image in pictures])
        except ValueError as error:
            results[name] = str(error)
    answers.write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
