import pytest
import torch
from monai.data import MetaTensor

from condseg_monai.data.images.binarize import BinarizeLabeld


def test_values_above_127_are_foreground():
    label = torch.tensor([[0.0, 7.0, 127.0, 127.5, 128.0, 248.0, 255.0]])
    result = BinarizeLabeld("label")({"label": label})["label"]
    assert result.tolist() == [[0, 0, 0, 1, 1, 1, 1]] and result.dtype == torch.float32


def test_threshold_0_keeps_every_instance():
    ids = torch.tensor([[0, 1, 2, 300]], dtype=torch.int32)
    assert BinarizeLabeld("label", threshold=0)({"label": ids})["label"].tolist() == [[0, 1, 1, 1]]


def test_metadata_and_other_entries_stay():
    label = MetaTensor(torch.full((1, 2, 3), 255.0), meta={"filename_or_obj": "a.png"})
    data = {"image": torch.rand(3, 2, 3), "label": label}
    result = BinarizeLabeld("label")(data)
    assert result["label"].meta["filename_or_obj"] == "a.png"
    assert result["image"] is data["image"]
    assert data["label"].max() == 255


@pytest.mark.parametrize("threshold", [-1, 255, 1000])
def test_threshold_outside_the_range_raises(threshold):
    with pytest.raises(ValueError, match="threshold must be in"):
        BinarizeLabeld("label", threshold)
