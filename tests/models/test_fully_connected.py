import pytest
import torch

from deeplab.models.fully_connected import decimated, fit_fully_connected, subsampled


def full(filters=12, in_channels=512, size=7, flat=False):
    shape = (filters, in_channels * size * size) if flat else (filters, in_channels, size, size)
    fc7 = torch.randn(filters, filters) if flat else torch.randn(filters, filters, 1, 1)
    return {
        "fc6.weight": torch.randn(shape),
        "fc6.bias": torch.randn(filters),
        "fc7.weight": fc7,
        "fc7.bias": torch.randn(filters),
    }


@pytest.mark.parametrize(("size", "taps"), [(7, [0, 1, 2, 3, 4, 5, 6]), (4, [0, 2, 4, 6]), (3, [0, 3, 6]), (1, [3])])
def test_decimation_takes_taps_from_edge_to_edge(size, taps):
    kernel = torch.randn(2, 3, 7, 7)
    assert torch.equal(decimated(kernel, size), kernel[:, :, taps][..., taps])


@pytest.mark.parametrize("flat", [True, False])
def test_kept_filters_stay_connected(flat):
    fc = full(flat=flat)
    small = subsampled(fc, 3, 5)
    fc6 = fc["fc6.weight"].view(12, 512, 7, 7)
    kept6 = [fc["fc6.bias"].tolist().index(bias) for bias in small["fc6.bias"].tolist()]
    kept7 = [fc["fc7.bias"].tolist().index(bias) for bias in small["fc7.bias"].tolist()]
    assert len(set(kept6)) == len(set(kept7)) == 5 and kept6 != list(range(5))
    for row, filter6 in enumerate(kept6):
        assert torch.equal(small["fc6.weight"][row], fc6[filter6][:, ::3, ::3])
        for line, filter7 in enumerate(kept7):
            assert small["fc7.weight"][line, row] == fc["fc7.weight"][filter7, filter6]


def test_the_draw_depends_on_the_seed_alone():
    fc = full()
    first, again, other = (subsampled(fc, 3, 5, seed)["fc6.bias"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_nothing_is_drawn_where_all_filters_are_wanted():
    fc = full(flat=True)
    same = subsampled(fc, 7, 12)
    assert torch.equal(same["fc6.weight"].flatten(1), fc["fc6.weight"])
    assert torch.equal(same["fc7.weight"].flatten(1), fc["fc7.weight"]) and torch.equal(
        same["fc6.bias"], fc["fc6.bias"]
    )


def test_every_branch_gets_the_same():
    given = {f"head.{name}": tensor for name, tensor in full().items()} | {"backbone.a": torch.zeros(1)}
    targets = {
        f"head.branches.{branch}.{name}": tensor
        for branch in range(2)
        for name, tensor in subsampled(full(), 3, 5).items()
    }
    fitted, done = fit_fully_connected(given, targets, "x")
    assert fitted.keys() == targets.keys() | {"backbone.a"}
    assert torch.equal(fitted["head.branches.0.fc7.weight"], fitted["head.branches.1.fc7.weight"])
    assert done == "fc6 and fc7: 5 of 12 filters, 3x3, the same in all 2 branches"


@pytest.mark.parametrize(("kernel", "filters"), [(9, 5), (3, 13)])
def test_a_larger_head_is_refused(kernel, filters):
    with pytest.raises(ValueError, match=f"cannot be subsampled to {filters} filters of {kernel}x{kernel}"):
        subsampled(full(), kernel, filters)


def test_weights_of_no_such_layer_are_refused():
    with pytest.raises(ValueError, match="do not see windows of 512 channels"):
        subsampled(full() | {"fc6.weight": torch.randn(12, 1000)}, 3, 5)
