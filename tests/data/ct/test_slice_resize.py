import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from condseg_monai.data.ct.slice_resize import resize_label_slice, resize_scores, resize_slice

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("old", "new"), [((31, 47), (24, 24)), ((12, 10), (24, 24)), ((24, 24), (24, 24))])
def test_sizes_and_values_are_those_of_the_published_protocol(old, new):
    """Cubic for images, nearest for labels, both by SciPy."""
    image, label = RNG.random(old, dtype=np.float32), RNG.integers(0, 9, old, dtype=np.uint8)
    factors = (new[0] / old[0], new[1] / old[1])
    np.testing.assert_allclose(resize_slice(image, new), zoom(image, factors, order=3), atol=1e-6)
    np.testing.assert_array_equal(resize_label_slice(label, new), zoom(label, factors, order=0))
    assert resize_slice(image, new).dtype == np.float32 and resize_label_slice(label, new).dtype == np.uint8


def test_scores_come_back_to_where_the_image_was():
    """A ramp through both resizes is the same ramp: no shift by half a pixel."""
    ramp = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(30, axis=0)
    small = resize_slice(ramp, (24, 24))
    back = resize_scores(torch.from_numpy(small)[None, None], (30, 40))[0, 0].numpy()
    np.testing.assert_allclose(back, ramp, atol=1e-3)


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="a slice must be"):
        resize_slice(np.zeros((2, 3, 4)), (2, 2))
