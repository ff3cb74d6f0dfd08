"""Which GPUs and cores a job gets, and how many jobs run at a time."""

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """What a job may use: GPUs by the names of CUDA_VISIBLE_DEVICES (None: not ours to say), and cores."""

    gpus: tuple[str, ...] | None
    cores: frozenset[int]
    slot: int


@dataclass
class Places:
    """Hands out GPUs and cores to at most `jobs` jobs at a time.

    Cores are shared out evenly. GPUs go round robin; more jobs than GPUs share them.
    """

    jobs: int
    gpus: list[str]
    cores: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))

    def __post_init__(self) -> None:
        self.per_gpu = -(-self.jobs // len(self.gpus)) if self.gpus else 0
        self._load = dict.fromkeys(self.gpus, 0)
        self._free = set(range(self.jobs))

    def sharing(self) -> str | None:
        """A sentence about GPUs that are shared, if they are."""
        if self.per_gpu < 2:
            return None
        on = "one GPU: they share it" if len(self.gpus) == 1 else f"{len(self.gpus)} GPUs: they share them"
        return f"{self.jobs} jobs at a time on {on}."

    def take(self, gpus: int | None) -> Place | None:
        """A place with that many GPUs (None: whichever the job finds); None while there is no room."""
        if not self._free:
            return None
        chosen: tuple[str, ...] | None = None
        if gpus is not None and self.gpus:
            room = [name for name in self.gpus if self._load[name] < self.per_gpu]
            if len(room) < gpus:
                return None
            chosen = tuple(sorted(sorted(room, key=self._load.__getitem__)[:gpus], key=self.gpus.index))
            for name in chosen:
                self._load[name] += 1
        slot = min(self._free)
        self._free.remove(slot)
        return Place(chosen, self._share(slot), slot)

    def give_back(self, place: Place) -> None:
        """Free what a job that ended had."""
        self._free.add(place.slot)
        for name in place.gpus or ():
            self._load[name] -= 1

    def _share(self, slot: int) -> frozenset[int]:
        count = len(self.cores)
        if count < self.jobs:
            return frozenset({self.cores[slot % count]})
        first, last = slot * count // self.jobs, (slot + 1) * count // self.jobs
        return frozenset(self.cores[first:last])


def visible_gpus() -> list[str]:
    """The GPUs of this machine, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(index) for index in range(count)]
