"""How the global batch is shared out: what a run states at its start, and what does not divide."""

from typing import Any

from deeplab.errors import InputError

Plain = dict[str, Any]


def effective_batch(config: Plain, processes: int, trains_batch_norm: bool) -> str:
    """A sentence: pictures a step, on how many processes, in how many passes, and at which learning rate.

    Raises InputError for a global batch that does not divide among the processes, with the nearest that do.
    """
    optim, most = config["optim"], config["data"]["batch_size_per_device"]
    batch, group = optim["global_batch_size"], optim["loss_group"]
    if batch % processes:
        raise InputError(
            f"optim.global_batch_size={batch} does not divide among {processes} processes; the nearest that do are "
            f"{_nearest(batch, processes, group)}."
        )
    share = batch // processes
    size = min(most, share)
    passes = -(-share // size)
    sizes = f"{size}" if share % size == 0 else f"{size}, the last of {share % size}"
    rates = sorted({optim["lr"] * each for each in optim["multipliers"].values()})
    text = (
        f"{batch} pictures a step: {processes} process{'es' if processes > 1 else ''} x {share}, in {passes} "
        f"forward pass{'es' if passes > 1 else ''} of {sizes}; losses over groups of {group}; learning rate "
        f"{optim['lr']:g}, by parameter group {', '.join(f'{rate:g}' for rate in rates)}"
    )
    if processes > 1 and trains_batch_norm and config["trainer"]["accelerator"] == "cpu":
        text += ". Batch normalisation is trained, on the CPU over the pictures of one pass of each process alone"
    return text


def _nearest(batch: int, processes: int, group: int) -> str:
    """Multiples of the number of processes that the loss groups divide too, below and above."""
    from math import lcm

    unit = lcm(processes, group)
    below = batch // unit * unit
    return f"{below} and {below + unit}" if below else str(unit)
