"""Misspelt, mistyped and impossible choices: one sentence, status 2, nothing written."""

from pathlib import Path

import pytest
import torch

from deeplab.cli import COMMANDS

MISSPELT = [
    (["experiment=dmeo"], ["no experiment=dmeo", "choose one of", "large_fov_half, demo, pascal_context_resnet101,"]),
    (["crf=pydensecrf"], ["no crf=pydensecrf", "choose one of", "none"]),
    (
        ["model/head=aspp"],
        ["no model/head=aspp", "aspp_l, aspp_l_stride16, aspp_s, aspp_s_stride16, classifier, large_fov"],
    ),
    (["crff=none"], ["no key crff", "did you mean crf?"]),
    (["backbone=vgg16"], ["no key backbone", "did you mean model/backbone?"]),
    (["model/bakbone=vgg16"], ["did you mean model/backbone?"]),
    (["lr=1"], ["no key lr", "did you mean optim.lr?"]),
    (["data.width=33"], ["no key data.width", "did you mean data.layout.width?"]),
    (["sead=1"], ["no key sead", "did you mean seed?", "optim"]),
    (["optim.max_step=3"], ["no key optim.max_step;", "did you mean optim.max_steps?", "loss_group"]),
    (["+foo=3"], ["no key foo", "model"]),
    (["data.crop_sise=33"], ["no key data.crop_sise", "did you mean data.crop_size?"]),
    (["demo"], ["'demo' is no override", "KEY=VALUE"]),
    (["optim.lr=0.1,0.2"], ["optim.lr=0.1,0.2", "add -m"]),
    (["optim.lr=[0.1"], ["optim.lr=[0.1", "a bracket is not closed", "quotes"]),
    (["data.label_map={255:", "1}"], ["data.label_map={255:", "cuts a value at a space", "'KEY=VALUE'"]),
    (["name=a]b"], ["name=a]b", "special characters", "quotes"]),
    (["seed=${sead}"], ["seed", "sead", "not found"]),
]

NO_OPTIONS = [
    (["--experiment", "demo"], "There is no option --experiment; write experiment=demo."),
    (["--experiment=demo"], "There is no option --experiment; write experiment=demo."),
    (["--batch-size", "seed=1"], "There is no option --batch-size; write batch_size=VALUE."),
    (["--compile"], "There is no option --compile; write compile=VALUE."),
    (["--multi"], "There is no option --multi; did you mean --multirun?"),
    (["--config", "my_conf"], "There is no option --config; did you mean --config-dir?"),
]

MISTYPED = [
    ("optim.max_steps=abc", ["optim.max_steps=abc", "not a whole number"]),
    ("optim.lr=fast", ["optim.lr=fast", "not a number"]),
    ("trainer.compile=perhaps", ["trainer.compile=perhaps", "not true or false"]),
    ("data.crop_size=abc", ["data.crop_size=abc", "not a whole number"]),
    ("optim.max_steps=null", ["optim.max_steps=null", "null is not allowed here"]),
    ("data=3", ["must be a string"]),
    ("model.multi_scale=abc", ["model.multi_scale=abc", "list"]),
]

IMPOSSIBLE = [
    ("crf.iterations=-1", ["crf", "iterations = -1", "0 or more"], ["crf=default"]),
    ("crf.backend=fast", ["crf.backend", "'fast'", "choose one of"], []),
    ("+model.backbone.widht=1", ["model.backbone.widht is not a parameter", "it has:", "width"], []),
    ("+optim.optimizer.nesterow=true", ["optim.optimizer.nesterow", "torch.optim.SGD", "nesterov"], []),
    ("model.backbone._target_=deeplab.models.resnet.Resnet", ["model.backbone._target_", "cannot be imported"], []),
    ("+callbacks.mine._target_=nowhere.Mine", ["callbacks.mine._target_=nowhere.Mine", "No module named"], []),
    ("model.backbone.output_stride=5", ["model.backbone", "output_stride=5", "choose one of"], []),
    ("model.backbone.width=wide", ["model.backbone", "wrong type"], []),
    ("optim.optimizer.momentum=much", ["optim", "wrong type"], []),
    ("optim.loss_group=3", ["optim.loss_group=3", "[1, 2, 4]"], []),
    ("optim.fc_rate=haed", ["optim.fc_rate=haed", "choose one of head, backbone"], []),
    ("optim.label_shrinking=nearst", ["optim.label_shrinking=nearst", "choose one of subsample, nearest"], []),
    ("optim.class_weights=[1,2]", ["optim.class_weights=[1.0, 2.0]", "8 classes", "data.class_names"], []),
    ("optim.class_weights=[1,1,1,1,1,1,1,-1]", ["optim.class_weights", "at least 0"], []),
    ("optim.class_weights=[0,0,0,0,0,0,0,0]", ["optim.class_weights", "not all of them 0"], []),
    ("optim.class_weights=heavy", ["optim.class_weights=heavy"], []),
    ("optim.freeze=[backbone.stem9]", ["optim.freeze", "backbone.stem9", "deeplab model"], []),
    ("data.crop_size=32", ["data.crop_size=32", "25 or 33"], []),
    ("data.layout.height=tall", ["data.layout", "wrong type"], []),
    ("data.label_map={3: many}", ["data", "many"], []),
    ("inference.scales=[]", ["inference.scales=[]", "at least one"], []),
    ("seed=-1", ["seed=-1", "at least 0"], []),
    ("evaluate=worst", ["evaluate=worst", "best, last or none"], []),
    ("trainer.precision=half", ["trainer", "'half'", "bf16-mixed"], []),
    ("trainer.options.foo=1", ["trainer", "foo"], []),
    ("trainer.devices=0", ["trainer", "devices"], []),
    ("trainer.devices=many", ["trainer", "many"], []),
    ("trainer.if_checkpoint_fails=pray", ["trainer.if_checkpoint_fails=pray", "stop or go_on"], []),
    ("trainer.lost_after=1", ["trainer.lost_after=1", "at least 5"], []),
    ("trainer.devices=3", ["optim.global_batch_size=4", "3 processes", "12"], ["trainer=ddp"]),
    ("callbacks=early_stopping", ["callbacks.early_stopping", "val/miou", "trainer.val_every_n_steps"], []),
    ("init=file", ["No value for init.path", "init.path=VALUE"], []),
    ("init.path=nowhere.pth", ["init.path", "nowhere.pth", "cannot be read"], []),
    ("data.val_split=held_out", ["held_out", "data.hold_out"], []),
    ("crf.compatibility=[[1]]", ["crf.compatibility", "for 1 labels", "hold 8"], ["crf=default"]),
    ("crf.iterations=10000000000", ["crf", "iterations = 10000000000", "at most 1000000"], ["crf=default"]),
    ("+trainer.options.gradient_clip_val=1", ["trainer.options.gradient_clip_val", "optim.gradient_clip"], []),
    ("+trainer.options.accumulate_grad_batches=2", ["accumulate_grad_batches", "optim.global_batch_size"], []),
    ("optim.lr=nan", ["optim.lr=nan", "finite"], []),
    ("optim.optimizer.momentum=inf", ["optim.optimizer.momentum=inf", "finite"], []),
    ("data.scales=[1.0,nan]", ["data.scales[1]=nan", "finite"], []),
    ("optim.max_steps=99999999999999999999", ["optim.max_steps=99999999999999999999", "64 bits"], []),
    ("optim.multipliers.head_bias=-1", ["optim.multipliers.head_bias=-1.0", "at least 0"], []),
    ("optim.gradient_clip=0", ["optim.gradient_clip=0.0", "above 0", "null"], []),
    ("optim.schedule.power=-1", ["optim.schedule", "power=-1", "at least 0"], []),
    ("optim.schedule.every=0", ["optim.schedule", "every=0", "at least 1"], ["optim=sgd_step"]),
    ("optim.schedule.gamma=-1", ["optim.schedule", "gamma=-1", "at least 0"], ["optim=sgd_step"]),
    ("trainer.num_threads=1000000", ["trainer.num_threads=1000000", "at most 1024"], []),
    ("model.backbone.width=100", ["model.backbone", "width=100", "at most 16"], []),
    ("model.head.rates=3", ["model.head.rates=3", "takes a list, such as [3]"], ["model/head=aspp_l"]),
    ("data.color_jitter=3", ["data.color_jitter=3", "brightness", "null"], []),
    ("data.color_jitter={hue: much}", ["data.color_jitter={'hue': 'much'}", "0 or more"], []),
    ("optim.optimizer.betas=[0.9]", ["optim", "index"], ["optim=adamw_poly"]),
    ("data.crop_size=160001", ["data.crop_size=160001", "1 to 16385"], []),
    ("data.scales=[1e9]", ["data.scales=[1000000000.0]", "above 64"], []),
    ("data.scale_range=[1,65]", ["data.scale_range=[1, 65]", "above 64"], []),
    ("data.scale_range=2", ["data.scale_range=2", "give a list"], []),
    ("data.scales=1.0", ["data.scales=1.0", "give a list"], []),
    ("data.scales=null", ["data.scales=None", "give a list"], []),
    ("data.val_split=vall", ["split vall", "train, val, test"], []),
    ("data.layout=null", ["data.layout=None", "data="], []),
    ("data.class_names=[a,'']", ["data.class_names", "'' is no name"], []),
    ("data.class_names=[true,b]", ["data.class_names", "True", "YAML", "quotes"], []),
    ("optim.freeze=['']", ["optim.freeze", "no module ''"], []),
    ("optim.freeze=[backbone,head]", ["optim.freeze", "nothing is left to train"], []),
    ("optim.lr=1e38", ["optim.lr=1e+38", "at most 1e+30"], []),
    ("paper=foo", ["paper=foo", "null"], []),
]


@pytest.mark.parametrize("crf", ["none", "default"])
def test_a_network_that_diverged_in_its_last_step_is_not_scored(run, scenes, tmp_path, crf):
    more = ["optim.lr=1e30", "optim.max_steps=1", f"crf={crf}", "hydra.run.dir=run"]
    run("train", *scenes, *more).refused("scores are NaN or infinite", "lower rate")
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(("overrides", "parts"), MISSPELT, ids=lambda value: str(value[0]))
def test_what_does_not_exist_is_named_and_what_is_near_it(run, overrides, parts):
    result = run("train", *overrides)
    result.refused(*parts)
    assert result.written() == set()


@pytest.mark.parametrize(("arguments", "sentence"), NO_OPTIONS, ids=lambda value: str(value))
@pytest.mark.parametrize("command", ["train", "rerun"])
def test_an_option_that_there_is_not_is_written_as_an_override(run, command, arguments, sentence):
    result = run(command, *arguments)
    assert result.refused() == f"deeplab {command}: {sentence}"
    assert result.written() == set()


def test_a_key_is_looked_for_in_all_sections(run):
    run("data check", "data=folder", "root=my_data").refused("no key root; did you mean data.root?")


@pytest.mark.parametrize(("override", "parts"), MISTYPED, ids=lambda value: str(value))
def test_values_of_another_type_are_refused(run, override, parts):
    result = run("train", override)
    result.refused(*parts)
    assert result.written() == set()


@pytest.mark.parametrize(("override", "parts", "more"), IMPOSSIBLE, ids=lambda value: str(value))
def test_values_that_cannot_work_are_refused_before_any_work(run, scenes, override, parts, more):
    result = run("train", *scenes, *more, override)
    result.refused(*parts)
    assert result.written() <= {"run/metrics.csv"}
    assert not list(result.folder.rglob("checkpoints"))


def test_a_gpu_where_there_is_none(run, scenes, checkpoint, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command, *arguments in (
        ("train", *scenes),
        ("evaluate", f"checkpoint={checkpoint}"),
        ("predict", f"checkpoint={checkpoint}", "input=.", "output=out"),
    ):
        result = run(command, *arguments, "trainer=gpu")
        result.refused("trainer.accelerator=gpu", "no GPU", "trainer=cpu")
        assert result.written() == set()


NEEDED = {"data check": ["data=scenes"], "data prepare": ["data=voc12", "root=x"], "weights convert": ["a", "b"]}


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in ("runs", "rerun")])
def test_every_command_explains_a_misspelt_key(run, command):
    result = run(command, *NEEDED.get(command, ()), "crf_.iterations=1")
    assert result.refused("no key crf_", "did you mean crf?").startswith(f"deeplab {command}: ")
    assert result.written() == set()


def test_values_that_are_missing_are_named(run):
    run("evaluate").refused("No value for checkpoint", "checkpoint=VALUE")
    run("predict", "checkpoint=x").refused("No value for input, output")
    run("train", "data=voc12").refused("No value for data.root", "data.root=VALUE")


def test_a_section_of_the_wrong_command_is_refused(run):
    run("predict", "data.root=x").refused("no key data", "Known: checkpoint, crf")


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["crf=pydensecrf,none"], ["no crf=pydensecrf"]),
        (["optim.max_step=1,2"], ["did you mean optim.max_steps?"]),
    ],
    ids=str,
)
def test_a_sweep_is_refused_in_one_sentence_too(run, scenes, overrides, parts):
    result = run("train", "-m", *scenes, "evaluate=none", *overrides)
    result.refused(*parts)
    # Hydra has copied the configuration; no job has begun.
    assert {Path(file).name for file in result.written()} <= {"multirun.yaml"}


@pytest.mark.slow
def test_a_value_of_one_job_costs_no_other_job(run, scenes):
    result = run("train", "-m", *scenes, "evaluate=none", "seed=1,-1")
    assert result.code == 1
    assert "Traceback" not in result.err + result.out
    assert "Job 1 has not finished (seed=-1: it must be at least 0.)" in result.out + result.err


def test_a_broken_file_in_conf_is_named_with_its_line(run, tmp_path):
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "broken.yaml").write_text("name: broken\nroot: [1, 2\nlayout: x\n")
    result = run("train", "--config-dir=mine", "data=broken")
    assert "broken.yaml" in result.refused("line 3")


def test_a_folder_of_files_of_ones_own_is_searched(run, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("# @package _global_\nname: my_own\n")
    assert "name: my_own" in run("train", "--config-dir=mine", "experiment=own", "--cfg", "job").worked().out


def test_labels_can_be_mapped_on_the_command_line(run, scenes):
    rule = ["data.class_names=[ground,thing]", "data.label_map={2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}"]
    result = run("train", *scenes, *rule, "evaluate=none", "hydra.run.dir=run").worked()
    assert "run/checkpoints/last.ckpt" in result.written()
