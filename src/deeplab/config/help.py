"""What `deeplab COMMAND --help` prints; Hydra's own page takes seconds and lists groups that the command lacks."""

from dataclasses import dataclass
from textwrap import fill

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deeplab.config.explain import conf_dir, group_options, primary_config

TRAINING = ("experiment", "model", "data", "init", "optim", "inference", "crf", "trainer", "logger", "callbacks")


@dataclass(frozen=True)
class Page:
    """One command's: what it does, what it needs, examples (arguments and what they do), its groups."""

    purpose: str
    usage: str
    examples: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Groups that have no choice of their own, with one to show the keys of: `data=folder`."""


PAGES = {
    "train": Page(
        "Train a network, then score the best checkpoint before and after the CRF.\n"
        "Everything is written below outputs/NAME/TIME (hydra.run.dir=...).",
        "[GROUP=CHOICE ...] [KEY=VALUE ...]",
        (
            ("experiment=demo", "generated scenes, no download, minutes on a CPU"),
            (
                "experiment=voc12_vgg16_aspp_l data.root=VOCdevkit init.path=vgg16.pth trainer=gpu",
                "a row of the paper, from ImageNet's weights",
            ),
            ("data=folder data.root=my_data 'data.class_names=[background,crack]'", "pictures and masks of your own"),
            ("experiment=demo crf=none optim.lr=3e-4", "any choice and any value can be changed"),
            ("-m experiment=demo model/head=aspp_s,aspp_l", "one job for each value"),
            (
                "sweep=table3 data.root=VOCdevkit init.path=vgg16.pth trainer=gpu jobs=2",
                "a table of the paper, two jobs at a time",
            ),
            ("resume_sweep=outputs/sweeps/TIME", "go on with a sweep: what has not finished"),
            ("resume=outputs/demo/TIME", "go on with a run from its newest checkpoint"),
        ),
        (*TRAINING, "sweep"),
    ),
    "evaluate": Page(
        "Score a checkpoint of `deeplab train` on any split of any data set, before and after the CRF.\n"
        "The checkpoint carries its configuration; data, inference and crf of the command line are laid over it.",
        "checkpoint=FILE [GROUP=CHOICE ...] [KEY=VALUE ...]",
        (
            ("checkpoint=best.ckpt", "the validation split of its own data"),
            ("checkpoint=best.ckpt split=test output=scores", "another split, into a folder of your choice"),
            ("checkpoint=best.ckpt inference=multi_scale_flip crf.iterations=5", "other ways to predict"),
            ("checkpoint=best.ckpt data=voc12 data.root=VOCdevkit crf=none", "other data with the same classes"),
        ),
        ("data", "inference", "crf", "trainer"),
    ),
    "predict": Page(
        "Write label maps (palette PNGs) and overlays for a photo or a folder of photos.\n"
        "Ends with status 1 if a picture could not be read; the others are written all the same.",
        "checkpoint=FILE input=PHOTO_OR_FOLDER output=FOLDER [GROUP=CHOICE ...] [KEY=VALUE ...]",
        (
            ("checkpoint=best.ckpt input=photos output=labels", "a folder, its subfolders included"),
            ("checkpoint=best.ckpt input=photo.jpg output=labels crf=none", "one photo, without the CRF"),
            ("checkpoint=best.ckpt input=photos output=labels save_probabilities=true", "also NAME_probabilities.npz"),
            ("checkpoint=best.ckpt input=JPEGImages output=labels export=voc12", "also an archive for the test server"),
        ),
        ("inference", "crf", "trainer"),
    ),
    "crf": Page(
        "Refine saved class scores (npz, npy or PNG score maps of any network) with the dense CRF.",
        "images=FOLDER probs=FOLDER output=FOLDER [GROUP=CHOICE ...] [KEY=VALUE ...]",
        (
            ("images=photos probs=scores output=labels", "scores/NAME.npz goes with photos/NAME.jpg"),
            ("images=photos probs=scores output=labels crf=released crf.iterations=5", "other parameters"),
        ),
        ("crf",),
    ),
    "search-crf": Page(
        "Find the CRF's best parameters for a network by cross-validation (section 4.1).\n"
        "The winner is checked on pictures that the search did not see.",
        "checkpoint=FILE | probs=FOLDER [GROUP=CHOICE ...] [KEY=VALUE ...]",
        (
            ("checkpoint=best.ckpt", "100 pictures of the validation split, the paper's grid, then around the winner"),
            ("checkpoint=best.ckpt search.split=held_out search.num_pictures=60", "another split, fewer pictures"),
            ("probs=scores data=voc12 data.root=VOCdevkit", "scores of any network, saved in files"),
            ("-m hydra/sweeper=crf_tpe checkpoint=best.ckpt", "continuous ranges, drawn by Optuna (extra `sweep`)"),
        ),
        ("data", "inference", "crf", "trainer"),
    ),
    "compare": Page(
        "Compare runs on one page: which variant won, by how much, how sure that is, and where in the pictures.\n"
        "Reads run folders alone; writes report.html, which opens without a network, report.md and report.json.",
        "RUN_OR_SWEEP... [KEY=VALUE ...]",
        (
            ("outputs/sweeps/TIME", "all runs of a sweep"),
            (
                "outputs/sweeps/TIME outputs/demo/TIME output=comparison",
                "and another run; where to write",
            ),
            ("outputs/sweeps/TIME data.root=VOCdevkit", "the data set lies elsewhere than when the runs were made"),
            ("outputs/sweeps/TIME figures=paper/figures", "also PDF, SVG and LaTeX for print"),
        ),
        (),
    ),
    "data check": Page(
        "Read every file of a data set and report what is missing, unreadable or at odds with the rest.\n"
        "Ends with status 1 if anything is wrong; what only makes numbers differ from published ones is a warning.",
        "data=NAME data.root=FOLDER [KEY=VALUE ...]",
        (
            ("data=voc12_aug data.root=VOCdevkit", "the splits for training and validation"),
            ("data=voc12 data.root=VOCdevkit 'splits=[train,val,trainval]'", "splits of your choice"),
            ("data=folder data.root=my_data 'data.class_names=[background,crack]'", "data of your own"),
            ("data=voc12 data.root=VOCdevkit output=sheets", "also draw some pictures, their masks, training crops"),
        ),
        ("data",),
        ("data=folder",),
    ),
    "data prepare": Page(
        "Bring a data set's files to their places and make its masks.\n"
        "What is there stays as it is: a second run does nothing.",
        "data=NAME root=FOLDER [KEY=VALUE ...]",
        (
            ("data=voc12_aug root=VOCdevkit", "download what is missing, make SegmentationClassAug"),
            ("data=pascal_context root=VOCdevkit 'archives=[trainval.tar.gz]'", "an archive that is on disk already"),
            ("data=cityscapes root=cityscapes download=false", "only what is there"),
        ),
        ("data",),
        ("data=folder",),
    ),
    "data validate": Page(
        "Refuse what a test server would refuse: names, number, size, palette and values of the predictions.",
        "archive=FILE format=NAME [KEY=VALUE ...]",
        (
            (
                "archive=voc12_results.tgz format=voc12 images=VOC2012/JPEGImages ids=test.txt",
                "all that can be checked",
            ),
            ("archive=cityscapes_results.zip format=cityscapes", "the whole test set"),
            ("archive=some.zip format=cityscapes count=500", "another number of pictures"),
        ),
        (),
    ),
    "weights convert": Page(
        "Write a weight file of Caffe, torchvision or another DeepLab in this project's names, with the input that it\n"
        "expects. init.path takes any of these files directly too.",
        "SOURCE TARGET [KEY=VALUE ...]",
        (
            ("train_iter_20000.caffemodel released.pth", "the authors' network"),
            (
                "VGG_ILSVRC_16_layers.caffemodel vgg16.pth kernel_size=3 hidden_channels=1024 seed=1",
                "fc6 and fc7 subsampled, another draw of filters",
            ),
        ),
        (),
    ),
    "model": Page(
        "Print the layers, parameters and multiply-adds of a training configuration, for one crop of data.crop_size.",
        "[GROUP=CHOICE ...] [KEY=VALUE ...]",
        (
            ("experiment=voc12_resnet101_aspp_l", "the network of a row of the paper"),
            ("model/backbone=vgg16 model/head=large_fov data=voc12", "any combination"),
        ),
        ("experiment", "model", "data"),
    ),
}


def help_text(command: str, overrides: list[str]) -> str:
    """The page of a command; its keys show the values that `overrides` lead to.

    Raises what Hydra raises for overrides that do not fit.
    """
    page = PAGES[command]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        chosen = {override.partition("=")[0] for override in overrides}
        shown = [need for need in page.needs if need.partition("=")[0] not in chosen]
        config = compose(primary_config(command), overrides=[*overrides, *shown])
    parts = [
        f"{page.purpose}\n\nusage: deeplab {command} {page.usage}",
        "Examples\n" + "\n".join(f"  deeplab {command} {text}\n      {what}" for text, what in page.examples),
        "Flags\n  --cfg job     print the configuration and leave\n"
        "  -m            one job for every combination of comma-separated values\n"
        "  --hydra-help  Hydra's own flags",
        *(["Groups (GROUP=CHOICE)\n" + "\n".join(_group(*each) for each in _groups(page))] if page.groups else []),
        f"Keys (KEY=VALUE, as in data.num_workers=0), explained in {conf_dir()}\n{OmegaConf.to_yaml(config)}",
    ]
    return "\n\n".join(parts).rstrip()


def _groups(page: Page) -> list[tuple[str, list[str]]]:
    return [(name, options) for name, options in group_options().items() if name.split("/")[0] in page.groups]


def _group(name: str, options: list[str]) -> str:
    return fill(", ".join(options), 110, initial_indent=f"  {name:<18}", subsequent_indent=" " * 20)
