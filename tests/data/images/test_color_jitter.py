"""Mild colour augmentation of single images."""

import pytest
import torch
from monai.data import MetaTensor

from condseg_monai.data.images.color_jitter import RandColorJitterd


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(3, 12, 9, generator=torch.Generator().manual_seed(0))


def test_same_seed_gives_the_same_image_and_each_call_another(image):
    jitters = [RandColorJitterd("image", 0.3).set_random_state(seed=4) for _ in range(2)]
    first, again = (jitter({"image": image})["image"] for jitter in jitters)
    assert torch.equal(first, again)
    assert not torch.equal(first, jitters[0]({"image": image})["image"])
    assert first.min() >= 0 and first.max() <= 1


def test_strength_bounds_the_change_and_zero_changes_nothing(image):
    torch.testing.assert_close(RandColorJitterd("image", 0.0)({"image": image})["image"], image, atol=1e-5, rtol=0)
    jitter = RandColorJitterd("image", 0.2).set_random_state(seed=0)
    grey = torch.full((3, 4, 4), 0.5)  # without contrast, saturation and hue, so that brightness alone moves it
    values = torch.stack([jitter({"image": grey})["image"].mean() for _ in range(200)])
    assert 0.4 <= values.min() < 0.42 and 0.58 < values.max() <= 0.6


def test_label_is_left_alone_and_the_image_stays_a_meta_tensor(image):
    data = {"image": MetaTensor(image, meta={"filename_or_obj": "a.png"}), "label": torch.ones(1, 12, 9)}
    before = data["image"].clone()
    result = RandColorJitterd("image", 0.5).set_random_state(seed=1)(data)
    assert result["label"] is data["label"]
    assert torch.equal(data["image"], before) and not torch.equal(result["image"], before)
    assert result["image"].meta["filename_or_obj"] == "a.png"


def test_strength_out_of_range_raises():
    with pytest.raises(ValueError, match=r"color_jitter must be in \[0, 1\], got 2"):
        RandColorJitterd("image", 2)


def test_grey_channel_gets_brightness_and_contrast(image):
    grey = image[:1]
    as_rgb, alone = (
        RandColorJitterd("image", 0.3).set_random_state(seed=4)({"image": picture})["image"]
        for picture in (grey.expand(3, -1, -1), grey)
    )
    torch.testing.assert_close(alone, as_rgb[:1], atol=1e-5, rtol=0)
    assert not torch.allclose(alone, grey, atol=0.01)
