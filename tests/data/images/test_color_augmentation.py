import colorsys

import pytest
import torch
from monai.utils import set_determinism

from condseg_monai.data.images.color_augmentation import StrongColorAugmentation

OFF = {
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "grayscale_probability": 0.0,
    "blur_kernel": 1,
}


def only(**strength) -> StrongColorAugmentation:
    return StrongColorAugmentation(**{**OFF, **strength})


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 20, 17, generator=torch.Generator().manual_seed(0))


def is_grey(images: torch.Tensor) -> torch.Tensor:
    return (images.amax(dim=1) - images.amin(dim=1)).amax(dim=(1, 2)) < 1e-5


def test_keeps_shape_range_and_type(images):
    extremes = torch.cat([images, torch.zeros_like(images[:1]), torch.ones_like(images[:1])])
    output = StrongColorAugmentation(brightness=0.9, contrast=0.9, saturation=0.9)(extremes)
    assert output.shape == extremes.shape and output.dtype == torch.float32
    assert output.min() >= 0 and output.max() <= 1


def test_same_seed_gives_the_same_bits(images):
    augment = StrongColorAugmentation()
    for seed in (set_determinism, torch.manual_seed):
        seed(3)
        first = augment(images)
        seed(3)
        assert torch.equal(first, StrongColorAugmentation()(images))
        assert not torch.equal(first, augment(images))
    set_determinism(None)


def test_every_image_of_a_batch_gets_its_own_draw(images):
    torch.manual_seed(0)
    output = StrongColorAugmentation()(images[:1].expand(8, -1, -1, -1))
    assert len({tuple(image.flatten().tolist()) for image in output}) == 8


def test_grey_channel_gets_what_its_rgb_copy_gets(images):
    """Brightness, contrast and blur; hue and saturation of grey are nothing."""
    augment, grey = StrongColorAugmentation(), images[:, :1]
    torch.manual_seed(0)
    as_rgb = augment(grey.expand(-1, 3, -1, -1))
    torch.manual_seed(0)
    output = augment(grey)
    assert output.shape == grey.shape and is_grey(as_rgb).all()
    torch.testing.assert_close(output, as_rgb[:, :1])
    assert not torch.allclose(output, grey, atol=0.01)


def test_everything_off_changes_nothing(images):
    torch.testing.assert_close(only()(images), images, atol=1e-5, rtol=0)


def test_brightness_multiplies_within_its_range():
    torch.manual_seed(0)
    factors = only(brightness=0.3)(torch.full((256, 3, 4, 4), 0.5))[:, 0, 0, 0] / 0.5
    assert 0.7 <= factors.min() < 0.75 and 1.25 < factors.max() <= 1.3001


def test_hue_turns_within_its_range():
    torch.manual_seed(0)
    red = torch.zeros(256, 3, 4, 4)
    red[:, 0] = 1
    hues = [colorsys.rgb_to_hsv(*pixel.tolist())[0] for pixel in only(hue=0.1)(red)[:, :, 0, 0]]
    turns = [hue - 1 if hue > 0.5 else hue for hue in hues]
    assert -0.1001 <= min(turns) < -0.08 and 0.08 < max(turns) <= 0.1001


def test_half_of_the_images_turn_grey():
    torch.manual_seed(0)
    output = only(grayscale_probability=0.5)(torch.rand(400, 3, 4, 4))
    assert 0.42 < is_grey(output).float().mean() < 0.58


@pytest.mark.parametrize("kernel, rows, columns", [(7, 7, 7), ((1, 7), 1, 7), ((7, 1), 7, 1)])
def test_blur_spreads_over_its_kernel(kernel, rows, columns):
    point = torch.zeros(1, 3, 15, 15)
    point[:, :, 7, 7] = 1
    output = only(blur_kernel=kernel, blur_sigma=(3.0, 3.0))(point)[0, 0]
    touched = output > 1e-6
    assert int(touched.any(dim=1).sum()) == rows and int(touched.any(dim=0).sum()) == columns
    assert output.sum().item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(output, output.flip(0).flip(1))


def test_autocast_does_not_lower_the_precision(images):
    augment = StrongColorAugmentation()
    torch.manual_seed(1)
    plain = augment(images)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(images), plain)


def test_no_gradient_and_no_state(images):
    augment = StrongColorAugmentation()
    assert not augment(images.requires_grad_()).requires_grad
    assert not list(augment.parameters()) and not augment.state_dict()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_draws_are_the_same_on_the_gpu(images):
    augment = StrongColorAugmentation()
    torch.manual_seed(5)
    on_cpu = augment(images)
    torch.manual_seed(5)
    on_gpu = augment(images.cuda())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2, 8, 8), (2, 4, 8, 8)])
def test_wrong_shape_raises(shape):
    with pytest.raises(ValueError, match=r"images must be \(B, C, H, W\) of 1 or 3"):
        StrongColorAugmentation()(torch.rand(shape))


@pytest.mark.parametrize("wrong", [{"blur_kernel": 6}, {"blur_kernel": (7, 0)}, {"blur_sigma": (0.0, 1.0)}])
def test_wrong_blur_raises(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StrongColorAugmentation(**wrong)


@pytest.mark.parametrize(("image_size", "kernel", "sigma"), [(256, 7, 3.0), (96, 3, 1.125), (352, 9, 4.125)])
def test_blur_scales_with_the_image(image_size, kernel, sigma):
    blur = StrongColorAugmentation(image_size=image_size).augment[2]
    draws = blur.generate_parameters((1000, 3, 8, 8))["sigma"]
    assert blur.flags["kernel_size"] == (kernel, kernel)
    assert 0.9 * sigma < draws.max() <= sigma
