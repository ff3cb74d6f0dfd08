"""Builds the CRF of a configuration; imports no torch, so that commands on files of scores start fast."""

from typing import Any

from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import check_compatibility
from deeplab.errors import InputError

Plain = dict[str, Any]
CRF_RUN_KEYS = ("backend", "max_pixels", "workers", "num_threads", "every_n_validations", "first_n")


def build_crf_params(crf: Plain) -> CRFParams:
    """Raises InputError when a parameter is refused."""
    try:
        return CRFParams(**{key: value for key, value in crf.items() if key not in CRF_RUN_KEYS})
    except (TypeError, ValueError) as error:
        raise InputError(f"crf: {error}") from error


def build_dense_crf(crf: Plain, num_classes: int | None = None) -> DenseCRF | None:
    """The CRF in this process, or None for `crf=none`; raises InputError when it is refused or not installed.

    num_classes: that the scores will have, if they are known.
    """
    if crf["backend"] == "none":
        return None
    params = build_crf_params(crf)
    try:
        if num_classes is not None:
            check_compatibility(params, num_classes)
    except ValueError as error:
        raise InputError(f"crf.compatibility: {error}") from error
    try:
        return DenseCRF(params, crf["backend"])
    except ValueError as error:
        raise InputError(f"crf.backend: {error}") from error
