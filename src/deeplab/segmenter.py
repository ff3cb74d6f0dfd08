"""A trained network in Python: picture in, labels out, as `deeplab predict` computes them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from deeplab.config import schema
from deeplab.config.build import build_inference
from deeplab.config.build_crf import build_dense_crf
from deeplab.config.check import check_numbers
from deeplab.config.explain import conf_dir, explain, primary_config
from deeplab.config.from_checkpoint import load_checkpoint, overlay, rebuild_network, which_checkpoint
from deeplab.crf.dense_crf import DenseCRF
from deeplab.data.palette import class_palette
from deeplab.errors import InputError
from deeplab.inference.probabilities import Inference
from deeplab.models.deeplab import DeepLab
from deeplab.models.multi_scale import MultiScale
from deeplab.predict_files import predict_labels, refine_by
from deeplab.reporting.overlays import overlay as draw_overlay
from deeplab.reporting.palette import Palette

Picture = npt.NDArray[np.uint8]


class Segmenter:
    """Segments pictures, RGB uint8 (H, W, 3) of any size; made by `Segmenter.load`.

    Attributes:
        network: the network, in evaluation mode; a `torch.nn.Module`.
        inference: how a picture goes through the network: scales, mirror image, tiles.
        crf: refines the labels; None for none.
        class_names: names by label.
        palette: colours by label, uint8 (256, 3).
        max_crf_pixels: larger pictures keep the network's labels.
    """

    def __init__(
        self,
        network: DeepLab | MultiScale,
        inference: Inference,
        crf: DenseCRF | None,
        class_names: Sequence[str],
        palette: Palette,
        max_crf_pixels: int,
    ) -> None:
        self.network = network
        self.inference = inference
        self.crf = crf
        self.class_names = list(class_names)
        self.palette = palette
        self.max_crf_pixels = max_crf_pixels

    @classmethod
    def load(
        cls, checkpoint: str | Path, device: str | torch.device = "cpu", overrides: Sequence[str] = ()
    ) -> "Segmenter":
        """Read a checkpoint of `deeplab train`, which carries its configuration, or of a run's folder the best or last.

        `overrides` are those that `deeplab predict` takes of the groups `inference` and `crf`, such as "crf=none" or
        "inference.flip=true".

        Raises InputError, a ValueError, for a file that is missing, damaged or foreign, and for overrides that do not
        fit.
        """
        path = which_checkpoint(str(checkpoint))
        carried, tensors = load_checkpoint(path)
        config = overlay(carried, _composed(overrides))
        check_numbers(config)
        names = config["data"]["class_names"]
        network = rebuild_network(config, tensors, path).to(device)
        return cls(
            network,
            build_inference(config["inference"]),
            build_dense_crf(config["crf"]),
            names,
            class_palette(config["data"]["palette"], len(names)),
            config["crf"]["max_pixels"],
        )

    def probabilities(self, image: Picture) -> npt.NDArray[np.float32]:
        """Return the network's class probabilities, (K, H, W), before the CRF."""
        result: npt.NDArray[np.float32] = self.inference.probabilities(self.network, image).cpu().numpy()
        return result

    def labels(self, image: Picture) -> npt.NDArray[np.integer]:
        """Return the class of each pixel, (H, W), after the CRF if there is one."""
        small = image.shape[0] * image.shape[1] <= self.max_crf_pixels
        refine = refine_by(self.crf) if self.crf is not None and small else None
        return predict_labels(self.network, self.inference, refine, image)

    def overlay(self, image: Picture, labels: npt.NDArray[np.integer]) -> Image.Image:
        """Draw labels (H, W) over their picture, with a legend."""
        return draw_overlay(image, labels, self.class_names, self.palette)


def _composed(overrides: Sequence[str]) -> DictConfig:
    """What `deeplab predict` makes of its overrides; the program around may be one of Hydra's itself."""
    schema.register()
    around = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose(primary_config("predict"), overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error)) from error
    finally:
        GlobalHydra.instance().hydra = around
