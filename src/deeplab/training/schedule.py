"""Learning rate policies (section 4.1.2, Table 2), as factors of the base rate an optimizer step."""

import math


class Poly:
    """(1 - step / max_steps) ** power; the paper's policy with power 0.9.

    `every`: change the rate at every so many steps only; the authors at each, kazuto1011/deeplab-pytorch at every 10th.
    """

    def __init__(self, max_steps: int, power: float = 0.9, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every={every}: it must be at least 1.")
        if power < 0:
            raise ValueError(f"power={power}: it must be at least 0.")
        self.max_steps = max_steps
        self.power = power
        self.every = every

    def __call__(self, step: int) -> float:
        return math.pow(max(0.0, 1.0 - step // self.every * self.every / self.max_steps), self.power)


class Step:
    """gamma ** (step // every); the v1 recipe divides by 10 every 2000 steps."""

    def __init__(self, max_steps: int, every: int = 2000, gamma: float = 0.1) -> None:
        if every < 1:
            raise ValueError(f"every={every}: it must be at least 1.")
        if gamma < 0:
            raise ValueError(f"gamma={gamma}: it must be at least 0.")
        self.max_steps = max_steps
        self.every = every
        self.gamma = gamma

    def __call__(self, step: int) -> float:
        return math.pow(self.gamma, step // self.every)
