"""Jobs fail, die, hang and leave children behind; the others go on."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from deeplab.errors import InputError
from deeplab.sweeping.record import Job, SweepRecord, read_sweep


def alive(pid: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int, within: float = 10) -> bool:
    until = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_a_job_that_fails_or_is_killed_costs_no_other(program, run, tmp_path, monkeypatch):
    tasks = [
        program(0, "print('went well')"),
        program(1, "raise ValueError('a fault')"),
        program(2, "import os; os.kill(os.getpid(), 9)"),
        program(3, "import sys; print('deeplab train: no data.', file=sys.stderr); sys.exit(2)"),
        program(4, "import json; json.dump({'miou': 0.5, 'miou_crf': 0.75}, open('4/metrics.json', 'w'))"),
    ]
    monkeypatch.chdir(tmp_path)
    jobs = run(tasks)
    assert [job.state for job in jobs] == ["finished", "failed", "failed", "failed", "finished"]
    assert [job.exit_code for job in jobs] == [0, 1, -9, 2, 0]
    assert [job.error for job in jobs] == [None, "ValueError: a fault", "killed by SIGKILL", "no data.", None]
    assert (jobs[4].miou, jobs[4].miou_crf, jobs[4].score) == (0.5, 0.75, 0.75)
    assert "Traceback" in (tmp_path / "1" / "output.log").read_text()
    assert read_sweep(tmp_path).jobs == jobs


def test_two_jobs_run_at_the_same_time_and_not_three(program, run, tmp_path):
    code = """
        import pathlib, sys, time
        begin, place = time.time(), pathlib.Path("{folder}")
        (place / "met{number}").touch()
        while {number} < 2 and not (place / "met{other}").exists():  # each waits for the other
            time.sleep(0.01)
        print(begin, time.time())
    """
    tasks = [program(n, code.format(folder=tmp_path, number=n, other=1 - n)) for n in range(3)]
    assert {job.state for job in run(tasks, jobs=2)} == {"finished"}
    spans = [[float(t) for t in (tmp_path / str(n) / "output.log").read_text().split()] for n in range(3)]
    assert spans[2][0] > min(spans[0][1], spans[1][1])


def test_what_a_job_is_given(program, run, tmp_path, monkeypatch):
    for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    code = """
        import json, os, sys
        names = ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
        print(json.dumps([{name: os.environ.get(name) for name in names}, sys.stdin.read()]))
    """
    run([program(0, code, gpus=1), program(1, code)], jobs=1, gpus=("3",))
    environment, read = json.loads((tmp_path / "0" / "output.log").read_text())
    assert environment == {"CUDA_VISIBLE_DEVICES": "3", "LOCAL_RANK": None, "WORLD_SIZE": None, "MASTER_PORT": None}
    assert read == ""
    assert json.loads((tmp_path / "1" / "output.log").read_text())[0]["CUDA_VISIBLE_DEVICES"] is None


def test_what_a_killed_job_started_is_ended_too(program, run, tmp_path):
    code = """
        import os, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    run([program(0, code)])
    assert gone(int((tmp_path / "0" / "output.log").read_text()))


SWEEP = """
import sys
from pathlib import Path
from deeplab.sweeping.places import Places
from deeplab.sweeping.record import Job, SweepRecord
from deeplab.sweeping.sweep import Sweep, SweepStoppedError, Task

job = '''
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *about: (print("wrote what it had", flush=True), sys.exit(0)))
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
'''
tasks = [Task(Job(n, [], str(n)), [sys.executable, "-c", job]) for n in range(3)]
record = SweepRecord(Path.cwd(), [], [task.job for task in tasks])
try:
    Sweep(record, Places(2, []), stop_seconds=1).run(tasks)
except SweepStoppedError as stopped:
    sys.exit(128 + stopped.number)
"""


def begun(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A sweep in a process of its own, and the processes of its two jobs and their children."""
    # A shell that runs these tests in the background has them ignore SIGINT, and a sweep keeps to that.
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP], cwd=folder, preexec_fn=listens)
    logs = [folder / str(number) / "output.log" for number in range(2)]
    until = time.monotonic() + 60
    while not all(log.is_file() and log.read_text().endswith("\n") for log in logs):
        assert time.monotonic() < until and sweep.poll() is None
        time.sleep(0.02)
    return sweep, [int(pid) for log in logs for pid in log.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_leaves_no_process(tmp_path, number):
    sweep, pids = begun(tmp_path)
    sweep.send_signal(number)
    assert sweep.wait(20) == 128 + number
    assert gone(*pids)
    states = [job.state for job in read_sweep(tmp_path).jobs]
    assert states == ["stopped", "stopped", "waiting"]
    assert "wrote what it had" in (tmp_path / "0" / "output.log").read_text()


def test_jobs_are_told_when_the_sweep_itself_is_killed(tmp_path):
    sweep, pids = begun(tmp_path)
    sweep.kill()
    sweep.wait(20)
    try:
        assert gone(pids[0], pids[2])
        assert [job.state for job in read_sweep(tmp_path).jobs] == ["running", "running", "waiting"]
    finally:
        for pid in (pids[1], pids[3]):  # children that do not listen to SIGTERM are beyond our reach
            os.kill(pid, signal.SIGKILL)


def test_a_sweep_runs_once_at_a_time(tmp_path):
    first = SweepRecord(tmp_path, [])
    first.lock()
    with pytest.raises(InputError, match="is running already"):
        SweepRecord(tmp_path, []).lock()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["jobs"][0].update(state="done"), "job 0 does not fit"),
        (lambda d: d["jobs"][1].pop("folder"), "job 1 does not fit"),
        (lambda d: d["jobs"].reverse(), "job 0 does not fit"),
        (lambda d: d["jobs"][0].update(overrides="seed=1"), "job 0 does not fit"),
        (lambda d: d.pop("arguments"), "it needs the keys arguments and jobs"),
        (lambda d: d.update(jobs={}), "it needs the keys arguments and jobs"),
    ],
)
def test_a_record_edited_by_hand_is_refused(tmp_path, change, sentence):
    SweepRecord(tmp_path, ["-m"], [Job(0, ["seed=0"], "0"), Job(1, ["seed=1"], "1")]).save()
    path = tmp_path / "sweep.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=sentence):
        read_sweep(tmp_path)


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no sweep\.json in it"):
        read_sweep(tmp_path)
