import os
import subprocess
import sys
import time

from deeplab.reporting.liveness import LOST, is_alive, process_facts


def test_this_process_lives_however_old_the_file_is() -> None:
    assert is_alive(process_facts(), touched=0)


def test_a_process_that_ended_is_dead_however_new_the_file_is() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "from deeplab.reporting.liveness import *; print(process_facts(), flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    facts = eval(child.stdout.readline())
    assert facts["pid"] == child.pid
    assert is_alive(facts, touched=time.time())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # still a zombie
    assert not is_alive(facts, touched=time.time())
    child.communicate()
    assert not is_alive(facts, touched=time.time())


def test_a_number_that_another_process_has_now_is_not_the_run() -> None:
    facts = process_facts()
    assert not is_alive(facts | {"start": facts["start"] - 1}, touched=time.time())


def test_on_another_machine_the_file_must_have_been_touched() -> None:
    facts = process_facts() | {"space": "another boot"}
    assert is_alive(facts, touched=time.time() - LOST / 2)
    assert not is_alive(facts, touched=time.time() - 2 * LOST)
    assert not is_alive(None, touched=time.time() - 2 * LOST)  # of an older version
