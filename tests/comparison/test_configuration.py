"""What `deeplab compare` calls the parts of a configuration."""

import pytest

from deeplab.comparison.configuration import describe

HEADS = "deeplab.models.heads."


@pytest.mark.parametrize(
    ("head", "stride", "name"),
    [
        ({"_target_": "DirectASPP", "rates": [2, 4, 8, 12]}, 8, "ASPP-S"),
        ({"_target_": "ASPP", "rates": [6, 12, 18, 24]}, 16, "ASPP-L"),
        ({"_target_": "ASPP", "rates": [1, 2, 4, 6]}, 16, "ASPP-S at stride 16"),
        ({"_target_": "ASPP", "rates": [12, 24, 36, 48]}, 4, "ASPP-L at stride 4"),
        ({"_target_": "ASPP", "rates": [1, 2, 4, 6]}, 8, "ASPP 1-2-4-6"),
        ({"_target_": "LargeFOV", "rate": 12}, 8, "LargeFOV"),
        ({"_target_": "LargeFOV", "rate": 6}, 16, "LargeFOV at stride 16"),
        ({"_target_": "LargeFOV", "rate": 4}, 8, "LargeFOV rate 4"),
        ({"_target_": "Classifier"}, 8, "Classifier"),
        ({"_target_": "ASPP", "rates": [1, 2]}, None, "ASPP 1-2"),
    ],
)
def test_heads_have_the_names_of_the_field(head: dict[str, object], stride: int | None, name: str) -> None:
    head["_target_"] = f"{HEADS}{head['_target_']}"
    config = {"model": {"head": head, "backbone": {"output_stride": stride}}}
    assert describe("model.head", config, {}, {}, []) == name
