"""Masks from files: 0 and 1, or indices of classes."""

import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image, ImageFilter

from condseg_monai.data.images.image_reader import UnreadableImageError, read_natural_image
from condseg_monai.data.images.mask_reader import read_mask
from condseg_monai.data.images.monai_readers import MaskReader

INDICES = np.kron([[0, 1, 2], [2, 0, 1]], np.ones((8, 8), int)).astype(np.uint8)
CLASSES = {"background": 0, "lesion": 1, "tool": 2}
DISC = (np.hypot(*np.mgrid[-32:32, -32:32]) < 20) * np.uint8(255)


def saved(path, array, mode=None):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def test_palette_indices_are_numbers_and_their_colours_are_colours(tmp_path):
    image = Image.fromarray(INDICES)
    image.putpalette([0, 0, 0, 0, 200, 0, 9, 9, 255])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", class_values=[0, 1, 2]), INDICES)
    colours = [[0, 0, 0], [0, 200, 0], [9, 9, 255]]
    assert np.array_equal(read_mask(tmp_path / "a.png", class_values=colours), INDICES)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_numbers_are_not_scaled(tmp_path, name):
    path = saved(tmp_path / name, INDICES.astype(np.uint16) * 300)
    assert np.array_equal(read_mask(path, class_values=[0, 300, 600]), INDICES)


def test_one_bit_is_0_and_1(tmp_path):
    path = saved(tmp_path / "a.png", INDICES == 1)
    assert np.array_equal(read_mask(path, class_values=[0, 1]), INDICES == 1)


def test_grey_saved_as_rgb_is_numbers(tmp_path):
    path = saved(tmp_path / "a.png", INDICES, "RGB")
    assert np.array_equal(read_mask(path, class_values=[0, 1, 2]), INDICES)


def test_unknown_value_names_the_file(tmp_path):
    path = saved(tmp_path / "strange.png", INDICES)
    with pytest.raises(UnreadableImageError, match=r"strange\.png: it has values of no class: 2"):
        read_mask(path, class_values=[0, 1])


def test_binary_mask_of_three_values_is_refused_unless_a_threshold_is_given(tmp_path):
    path = saved(tmp_path / "three.png", INDICES)
    with pytest.raises(UnreadableImageError, match=r"three\.png: the mask has areas of 3 values, 0, 1, 2"):
        read_mask(path)
    assert np.array_equal(read_mask(path, 0), INDICES > 0)
    assert not read_mask(path, 127).any()


def test_two_colours_of_equal_brightness_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[INDICES])
    with pytest.raises(UnreadableImageError, match="areas of 3 values"):
        read_mask(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((150, 150), Image.Resampling.BILINEAR),
        lambda image: image.resize((40, 40), Image.Resampling.BICUBIC),
        lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    ],
)
@pytest.mark.parametrize("quality", [None, 95, 75, 30])
def test_soft_edges_and_jpeg_noise_are_black_and_white(tmp_path, change, quality):
    name, arguments = ("a.png", {}) if quality is None else ("a.jpg", {"quality": quality})
    change(Image.fromarray(DISC)).save(tmp_path / name, **arguments)
    assert np.array_equal(read_mask(tmp_path / name), read_natural_image(tmp_path / name, "L") > 127)


def test_reader_gives_monai_rows_first_with_metadata(tmp_path):
    path = saved(tmp_path / "a.png", INDICES)
    array, meta = LoadImage(reader=MaskReader(classes=CLASSES), image_only=False)(path)
    assert array.shape == INDICES.shape and meta["filename_or_obj"] == str(path)
    thresholds = [reader.threshold for reader in (MaskReader(), MaskReader(3), MaskReader(classes=CLASSES))]
    assert thresholds == [127, 3, None]


@pytest.mark.parametrize(("arguments", "words"), [((255,), "threshold must be in"), ((5, CLASSES), "leave it out")])
def test_wrong_arguments_raise(arguments, words):
    with pytest.raises(ValueError, match=words):
        MaskReader(*arguments)
