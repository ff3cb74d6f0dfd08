"""A real Slurm on this machine, two nodes, for the tests marked `slurm`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cluster.sh")
SOURCES = Path(__file__).parents[2] / "src"

# A network of a few milliseconds a step, on scenes of 48 x 40 pixels.
TINY = (
    "model/backbone=resnet18",
    "model.backbone.width=0.125",
    "model/head=classifier",
    "model/input=imagenet_rgb",
    "data.crop_size=33",
    "data.num_workers=0",
    "data.layout.sizes={train:8,val:2,test:3}",
    "data.layout.height=40",
    "data.layout.width=48",
    "optim.global_batch_size=4",
    "optim.loss_group=4",
    "trainer.progress_bar=false",
    "trainer.val_every_n_steps=null",
    "trainer.num_threads=1",
    "save_predictions=false",
    "num_pictures=0",
    "crf=none",
)

NODES = ("trainer=ddp", "trainer.num_nodes=2", "trainer.devices=1")
LAUNCHER = ("hydra/launcher=slurm_nodes", "hydra.launcher.tasks_per_node=1", "hydra.launcher.cpus_per_task=1")
# Long enough to be disturbed on a fast machine too, where the first job of two is well ahead; a checkpoint several
# times a second.
STEPS = 600
TRAINING = (f"optim.max_steps={STEPS}", "trainer.checkpoint_every_n_steps=20")


@dataclass(frozen=True)
class Cluster:
    """Two nodes, n1 and n2, that run on this machine; `environment` is what commands need to find them."""

    folder: Path
    environment: dict[str, str]

    def control(self, action: str, *node: str) -> None:
        """Call the script: restart, kill NODE, revive NODE."""
        subprocess.run([SCRIPT, action, self.folder, *node], check=True, timeout=180)

    def call(self, *command: str) -> str:
        """What a Slurm command printed."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Poll until `condition` holds; fail the test with `what` after so many seconds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s; jobs are {self.states()}"
            time.sleep(0.2)

    def states(self) -> list[str]:
        """Of the jobs in the queue: PENDING, RUNNING, COMPLETING ..."""
        return self.call("squeue", "--noheader", "--array", "--format=%T").split()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [program for program in ("slurmctld", "slurmd", "munged", "srun") if not shutil.which(program, path=path)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("only root may start Slurm's daemons")
    folder = tmp_path_factory.mktemp("slurm")
    environment = {
        **os.environ,
        "PATH": path,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PYTHONPATH": str(SOURCES),
        "OMP_NUM_THREADS": "1",
    }
    try:
        subprocess.run([SCRIPT, "start", folder], check=True, timeout=180)
        yield Cluster(folder, environment)
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=180)


@dataclass
class Command:
    """A command that runs beside the test."""

    process: subprocess.Popen[str]

    def ended(self, seconds: float) -> tuple[int, str]:
        """Wait for it; its status and what it printed."""
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out


class Start:
    """start(*arguments): begin `deeplab train` for a tiny network in `folder`; start.as_given(*arguments): for any."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.running: list[Command] = []

    def __call__(self, *arguments: str) -> Command:
        return self.as_given(*TINY, *arguments)

    def as_given(self, *arguments: str) -> Command:
        process = subprocess.Popen(
            [sys.executable, "-m", "deeplab.train", *arguments],
            cwd=self.folder,
            env=self.cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(Command(process))
        return self.running[-1]

    def end(self) -> None:
        for each in self.running:
            if each.process.poll() is None:
                os.killpg(each.process.pid, signal.SIGKILL)
                each.process.communicate()
        subprocess.run(["scancel", "--quiet", "--user=root"], env=self.cluster.environment, check=False, timeout=60)


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Start]:
    """Starts commands in the test's folder; all ends with the test, and the queue is empty at its start."""
    cluster.wait(lambda: not cluster.states(), 120, "an empty queue")
    begin = Start(cluster, tmp_path)
    yield begin
    begin.end()


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of two jobs, seed=0 and seed=1, over two nodes each, that nothing disturbed."""
    begin = Start(cluster, tmp_path_factory.mktemp("undisturbed"))
    try:
        code, out = begin("-m", *LAUNCHER, *NODES, *TRAINING, "seed=0,1", "hydra.sweep.dir=sweep").ended(420)
        assert code == 0, out
    finally:
        begin.end()
    return begin.folder / "sweep"
