import pytest
import torch
from monai.data import MetaTensor

from condseg_monai.data.images.normalization import NormalizeImage, NormalizeImaged, normalize_image


def test_imagenet_values_by_hand():
    image = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1)
    expected = [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    torch.testing.assert_close(normalize_image(image).flatten(), torch.tensor(expected))


def test_released_reverses_the_channels_and_keeps_the_range():
    image = torch.rand(3, 4, 5)
    assert torch.equal(normalize_image(image, "released"), image[[2, 1, 0]])


@pytest.mark.parametrize("normalization", ["imagenet", "released"])
def test_batch_equals_each_image_alone(normalization):
    images = torch.rand(2, 3, 4, 5)
    batch = normalize_image(images, normalization)
    for image, normalised in zip(images, batch, strict=True):
        assert torch.equal(normalize_image(image, normalization), normalised)


def test_transform_normalises_its_keys_alone_and_keeps_metadata():
    image = MetaTensor(torch.rand(3, 4, 5), meta={"filename_or_obj": "a.png"})
    data = {"image": image, "label": torch.ones(1, 4, 5)}
    for normalization in ("imagenet", "released"):
        result = NormalizeImaged("image", normalization)(data)
        torch.testing.assert_close(result["image"].as_tensor(), normalize_image(image.as_tensor(), normalization))
        assert result["image"].meta["filename_or_obj"] == "a.png"
        assert result["label"] is data["label"] and data["image"] is image


@pytest.mark.parametrize("make", [NormalizeImage, lambda n: NormalizeImaged("image", n)])
def test_unknown_normalization_raises_at_construction(make):
    with pytest.raises(ValueError, match="normalization must be one of imagenet, released, got 'bgr'"):
        make("bgr")


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 4, 4), (3, 4), (1, 1, 3, 4, 4)])
def test_wrong_shape_raises(shape):
    with pytest.raises(ValueError, match="image must be"):
        normalize_image(torch.rand(shape))


def test_one_channel_takes_the_means_of_the_three():
    image = torch.tensor([0.449, 0.449 + 0.226]).view(1, 1, 2)
    torch.testing.assert_close(normalize_image(image), torch.tensor([[[0.0, 1.0]]]), atol=2e-3, rtol=0)
    torch.testing.assert_close(normalize_image(image, "released"), image)


def test_integers_raise_as_they_are_in_another_range():
    with pytest.raises(ValueError, match=r"floating point in \[0, 1\], got torch.uint8"):
        normalize_image(torch.zeros(3, 2, 2, dtype=torch.uint8))
