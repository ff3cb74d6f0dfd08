"""The exceptions that end a run with one sentence instead of a traceback, and the exit status of each."""

CTRL_C = 130  # what shells report for a process that SIGINT ended


class InputError(ValueError):
    """A mistake in what the user gave: its message is one sentence that says what, where and the remedy.

    Commands print the message without a traceback and exit with status 2; every other exception, those below aside,
    is a fault of ours and keeps its traceback.
    """


class UnreadableFileError(InputError):
    """A file that is missing, empty or damaged, while the others of its kind may be sound."""


class RunEndedError(RuntimeError):
    """The run ended early for a reason outside of it, and can be resumed; commands exit with `status`."""

    status = 1


class ProcessLostError(RunEndedError):
    """A process of a run on several devices ended or fell silent without saying why."""


class Preempted(RunEndedError):  # noqa: N818 - it is no error
    """A signal asked the run to leave, and it did (75 is the system's EX_TEMPFAIL: try again later)."""

    status = 75
