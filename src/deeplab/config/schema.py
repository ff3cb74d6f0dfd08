"""What a configuration may hold: every key of `conf/` with its type, so that a misspelt or mistyped one is refused."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf


@dataclass
class InputConfig:
    """The input convention of the weights: channel order, scale, then mean and std in the network's own order."""

    channels: str = MISSING
    scale: float = MISSING
    mean: list[float] = MISSING
    std: list[float] = MISSING


@dataclass
class MultiScaleRules:
    """How multi-scale inputs resize; see `deeplab.models.multi_scale.MultiScale`."""

    align_corners: bool = True
    sizes: str = "corners"
    native_logits: bool = False


@dataclass
class ModelConfig:
    """`backbone` and `head` name their classes by `_target_`; an empty `multi_scale` means one pass at full size.

    `head_form` is a part of the head's class name: "" for the form of VGG-16 (fc6, fc7, fc8), "Direct" for the form
    of ResNet (one dilated classifier a branch).
    """

    input: InputConfig = field(default_factory=InputConfig)
    backbone: Any = MISSING
    head_form: str = MISSING
    head: Any = MISSING
    multi_scale: list[float] = field(default_factory=list)
    multi_scale_rules: MultiScaleRules = field(default_factory=MultiScaleRules)


@dataclass
class DataConfig:
    """A data set; see `deeplab.data.module.SegmentationData` and the files of `conf/data`.

    `layout` names its class by `_target_`. A data set without files has root: null. What may be null or a mapping is
    untyped, for OmegaConf cannot lay a mapping over a typed null.
    """

    name: str = MISSING
    # MISSING, not None, in this file: a default of None would take the place of a file's ??? without a word.
    root: str | None = MISSING
    class_names: list[str] = MISSING
    palette: Any = "voc"
    ignore_label: int = 255
    label_map: Any = None
    void_outlines: bool = False
    layout: Any = MISSING
    train_split: str = "train"
    val_split: str = "val"
    hold_out: int = 0
    hold_out_seed: int = 0
    crop_size: int = MISSING
    scales: Any = MISSING
    scale_range: Any = None
    mirror: bool = True
    color_jitter: Any = None
    batch_size_per_device: int = MISSING
    num_workers: int = 2
    val_limit: int | None = None


@dataclass
class InitConfig:
    """Initial weights: a file, or a name under which published ones are known, and what may differ.

    `allow` holds names of tensors that may be missing from the file or of another shape, "input", "stride_in_1x1".
    """

    path: str | None = MISSING
    name: str | None = None
    folder: str | None = None
    download: bool = True
    allow: list[str] = field(default_factory=list)


@dataclass
class MultipliersConfig:
    """Learning rate multipliers of the four parameter groups (released solver files)."""

    backbone_weight: float = 1.0
    backbone_bias: float = 2.0
    head_weight: float = 10.0
    head_bias: float = 20.0


@dataclass
class OptimConfig:
    """Everything an optimizer step depends on; lengths are in optimizer steps, sizes in pictures."""

    optimizer: Any = MISSING
    schedule: Any = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    multipliers: MultipliersConfig = field(default_factory=MultipliersConfig)
    max_steps: int = MISSING
    global_batch_size: int = MISSING
    loss_group: int = 1
    label_shrinking: str = "subsample"
    fc_rate: str = "head"
    class_weights: list[float] | None = None
    freeze: list[str] = field(default_factory=list)
    freeze_bn: bool | None = None
    gradient_clip: float | None = None


@dataclass
class InferenceConfig:
    """How a picture becomes probabilities; see `deeplab.inference.probabilities.Inference`."""

    scales: list[float] = field(default_factory=lambda: [1.0])
    flip: bool = False
    align_corners: bool = True
    max_pixels: int = 2_100_000
    tile: int = 1025
    overlap: int = 256


@dataclass
class CRFConfig:
    """Dense CRF: backend (`none` switches it off), its parameters, and where and when it runs."""

    backend: str = "auto"
    iterations: int = 10
    bilateral_weight: float = 4.0
    bilateral_xy_std: float = 67.0
    bilateral_rgb_std: float = 3.0
    gaussian_weight: float = 3.0
    gaussian_xy_std: float = 1.0
    normalization: str = "symmetric"
    unary: str = "probabilities"
    compatibility: list[list[Any]] | None = None  # numbers; of list[list[float]] OmegaConf refuses whole ones
    tolerance: float = 0.0
    prune_below: float = 0.0
    half_resolution: bool = False
    max_pixels: int = 16_000_000
    workers: int | None = None
    num_threads: int = 1
    every_n_validations: int = 1
    first_n: int | None = None


@dataclass
class TrainerConfig:
    """Where and how a run executes; `options` goes to `pytorch_lightning.Trainer` as it is."""

    accelerator: str = "cpu"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = True
    num_threads: int | None = None
    log_every_n_steps: int = 10
    val_every_n_steps: int | None = 200
    checkpoint_every_n_steps: int | None = 200
    if_checkpoint_fails: str = "stop"
    start_timeout: float = 300.0
    timeout: float = 1800.0
    lost_after: float = 60.0
    progress_bar: bool = True
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainConfig:
    """`deeplab train`."""

    name: str = MISSING
    seed: int = 0
    resume: str | None = None
    evaluate: str = "best"
    save_predictions: bool = True
    num_pictures: int = 12
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    init: InitConfig = field(default_factory=InitConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    crf: CRFConfig = field(default_factory=CRFConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: Any = MISSING
    callbacks: Any = None
    paper: Any = None
    rerun_of: str | None = None


@dataclass
class EvaluateConfig:
    """`deeplab evaluate`: `data`, `inference` and `crf` are laid over what the checkpoint carries."""

    checkpoint: str = MISSING
    output: str | None = None
    split: str | None = None
    first_n: int | None = None
    skip_unreadable: bool = False
    save_predictions: bool = True
    num_pictures: int = 12
    data: Any = field(default_factory=dict)
    inference: Any = field(default_factory=dict)
    crf: Any = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class PredictConfig:
    """`deeplab predict`."""

    checkpoint: str = MISSING
    input: str = MISSING
    output: str = MISSING
    save_probabilities: bool = False
    export: str | None = None
    inference: Any = field(default_factory=dict)
    crf: Any = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class CellsConfig:
    """Values, or offsets, of the five parameters of the CRF's kernels."""

    bilateral_weight: list[float] = MISSING
    bilateral_xy_std: list[float] = MISSING
    bilateral_rgb_std: list[float] = MISSING
    gaussian_weight: list[float] = MISSING
    gaussian_xy_std: list[float] = MISSING


@dataclass
class SearchConfig:
    """What `deeplab search-crf` tries, and on which pictures."""

    split: str | None = None
    num_pictures: int = 100
    num_held_out: int | None = None
    seed: int = 0
    coarse: CellsConfig = field(default_factory=CellsConfig)
    refine: CellsConfig = field(default_factory=CellsConfig)
    refine_rounds: int = 1
    processes: int | None = None
    bootstrap: int = 10_000


@dataclass
class SearchCRFConfig:
    """`deeplab search-crf`: `data`, `inference` and `crf` as for evaluate, or scores in files instead of a network."""

    checkpoint: str | None = None
    probs: str | None = None
    images: str | None = None
    labels: str | None = None
    align_corners: bool = False
    kind: str | None = None
    output: str | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    data: Any = field(default_factory=dict)
    inference: Any = field(default_factory=dict)
    crf: Any = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class RefineConfig:
    """`deeplab crf`."""

    images: str = MISSING
    probs: str = MISSING
    output: str = MISSING
    align_corners: bool = False
    kind: str | None = None
    palette: Any = "voc"
    crf: CRFConfig = field(default_factory=CRFConfig)


@dataclass
class DataCheckConfig:
    """`deeplab data check`."""

    splits: list[str] | None = None
    workers: int | None = None
    output: str | None = None
    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class DataPrepareConfig:
    """`deeplab data prepare`; `archives` is a path or a list of paths."""

    root: str = MISSING
    archives: Any = field(default_factory=list)
    download: bool = True
    mirror: str | None = None
    overwrite: bool = False
    workers: int | None = None
    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class DataValidateConfig:
    """`deeplab data validate`; `count` null is what the server expects."""

    archive: str = MISSING
    format: str = MISSING
    ids: str | None = None
    images: str | None = None
    count: int | None = None


@dataclass
class ComparedDataConfig:
    """Where the pictures of compared runs lie."""

    root: str | None = None


@dataclass
class CompareConfig:
    """`deeplab compare`."""

    runs: list[str] = field(default_factory=list)
    output: str | None = None
    bootstrap: int = 1000
    seed: int = 0
    pictures: int = 40
    gallery_seed: int | None = None
    figures: str | None = None
    wandb: bool = False
    data: ComparedDataConfig = field(default_factory=ComparedDataConfig)


@dataclass
class WeightsConvertConfig:
    """`deeplab weights convert`; the sizes are those of a head that takes a full VGG-16's fc6 and fc7."""

    source: str = MISSING
    target: str = MISSING
    allow: list[str] = field(default_factory=list)
    kernel_size: int | None = None
    hidden_channels: int | None = None
    seed: int = 0


SCHEMAS = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "search_crf": SearchCRFConfig,
    "crf": RefineConfig,
    "compare": CompareConfig,
    "data_check": DataCheckConfig,
    "data_prepare": DataPrepareConfig,
    "data_validate": DataValidateConfig,
    "weights_convert": WeightsConvertConfig,
}
# Sections that take any key: what is laid over a checkpoint's configuration and checked with it, and Lightning's own.
OPEN = {
    "train": ("trainer.options",),
    "evaluate": ("data", "inference", "crf", "trainer.options"),
    "predict": ("inference", "crf", "trainer.options"),
    "search_crf": ("data", "inference", "crf", "trainer.options"),
    "crf": (),
    "compare": (),
    "data_check": (),
    "data_prepare": (),
    "data_validate": (),
    "weights_convert": (),
}


def register() -> None:
    """Make the schemas known to Hydra as `<command>_schema`."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        if f"{command}_schema.yaml" in store.repo:
            continue  # known already; making them takes a tenth of a second
        node = OmegaConf.structured(schema)
        for section in OPEN[command]:
            OmegaConf.set_struct(OmegaConf.select(node, section), False)
        store.store(name=f"{command}_schema", node=node)
