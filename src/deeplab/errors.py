"""The exceptions that mean: the user can mend this."""


class InputError(ValueError):
    """A mistake in what the user gave: its message is one sentence that says what, where and the remedy.

    Commands print the message without a traceback and exit with status 2; every other exception is a fault of ours
    and keeps its traceback.
    """


class UnreadableFileError(InputError):
    """A file that is missing, empty or damaged, while the others of its kind may be sound."""
