"""How many worker processes a machine is asked to start."""

import logging

from deeplab.crf.backends import available_cores

log = logging.getLogger(__name__)

A_CORE = 4  # more than that share a core without use, and each takes a few hundred MB
ALWAYS = 16  # a job that is given one or two cores may wait for disks


def worker_count(key: str, asked: int | None) -> int | None:
    """What the configuration asks for at `key`, cut with a warning to what this machine's cores can use.

    A configuration travels from machine to machine, and the number of workers changes no result: hence no refusal.
    """
    cores = available_cores()
    most = max(ALWAYS, A_CORE * cores)
    if asked is None or asked <= most:
        return asked
    log.warning("%s=%d: %d are started, as this process may use %d cores.", key, asked, most, cores)
    return most
