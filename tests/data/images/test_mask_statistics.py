import numpy as np
import pytest

from condseg_monai.data.images.mask_statistics import mask_statistics


def rgb(values) -> np.ndarray:
    return np.repeat(np.array(values)[..., None], 3, axis=-1)


def test_counts_of_a_mask_with_jpeg_noise_and_a_soft_edge():
    found = mask_statistics(rgb(np.array([[0, 3, 10, 11], [128, 244, 245, 255]], dtype=np.uint8)), threshold=127)
    assert (found.pixels, found.foreground, found.neither, found.noise) == (8, 4, 3, 0)
    assert found.largest == 255 and not found.coloured


def test_noise_counts_once_the_threshold_is_below_it():
    assert mask_statistics(rgb(np.array([[0, 1, 7, 255]], dtype=np.uint8)), threshold=0).noise == 2


@pytest.mark.parametrize("values, neither", [([[0, 1, 1]], 0), ([[0, 1, 2, 9]], 2)])
def test_masks_that_do_not_reach_white_may_have_0_and_1(values, neither):
    found = mask_statistics(rgb(np.array(values, dtype=np.uint8)), threshold=0)
    assert (found.neither, found.noise) == (neither, 0)


def test_colours_are_noticed_and_the_brightest_channel_counts():
    mask = np.zeros((2, 2, 3), dtype=np.uint8)
    mask[0, 0] = (0, 255, 0)
    found = mask_statistics(mask, threshold=127)
    assert found.coloured and found.foreground == 1


def test_digest_is_of_the_foreground_alone():
    one, other = np.array([[0, 255]], dtype=np.uint8), np.array([[5.5, 250.0]], dtype=np.float32)
    assert mask_statistics(rgb(one), 127).digest == mask_statistics(rgb(other), 127).digest
    assert mask_statistics(rgb(one), 127).digest != mask_statistics(rgb(one.T), 127).digest
