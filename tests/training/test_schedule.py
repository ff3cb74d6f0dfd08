import pytest
import torch

from deeplab.training.schedule import Poly, Step


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (10000, 0.5**0.9), (19999, (1 / 20000) ** 0.9), (20000, 0.0)])
def test_poly_is_the_papers_formula(step: int, factor: float) -> None:
    assert Poly(20000)(step) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (1999, 1.0), (2000, 0.1), (5999, 0.01)])
def test_step_divides_by_ten_every_2000(step: int, factor: float) -> None:
    assert Step(6000)(step) == pytest.approx(factor)


def test_schedules_work_as_lambdas_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, Poly(4))
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([2 * (1 - i / 4) ** 0.9 for i in range(4)])
