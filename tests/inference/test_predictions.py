import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.images.mask_reader import read_mask
from condseg_monai.inference.predictions import SaveImagePredictiond, write_mask
from condseg_monai.utils.palette import class_colors


def save(tmp_path, values: torch.Tensor, extension: str, name: str = "case 1.v2.jpg"):
    saver = SaveImagePredictiond("pred", tmp_path, extension)
    saver({"pred": MetaTensor(values, meta={"filename_or_obj": f"/somewhere/{name}"})})


def test_png_has_rows_first_and_is_rounded(tmp_path):
    values = torch.tensor([[[0.0, 0.5, 0.999], [1.0, 0.499, 1.2]]])
    save(tmp_path, values, ".png")
    written = np.asarray(Image.open(tmp_path / "case 1.v2.png"))
    np.testing.assert_array_equal(written, [[0, 128, 255], [255, 127, 255]])


def test_npy_has_rows_first_and_is_exact(tmp_path):
    values = torch.rand(1, 3, 2)
    save(tmp_path, values, ".npy")
    written = np.load(tmp_path / "case 1.v2.npy")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, values[0].numpy())


def test_pictures_are_written_as_they_are(tmp_path):
    picture = torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8)
    save(tmp_path, picture, ".png")
    np.testing.assert_array_equal(read_natural_image(tmp_path / "case 1.v2.png"), picture.numpy().transpose(1, 2, 0))


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3)])
def test_images_of_one_row_or_column_keep_their_size(tmp_path, size):
    save(tmp_path, torch.ones(1, *size), ".png")
    assert np.asarray(Image.open(tmp_path / "case 1.v2.png")).shape == size


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def disk_full(self, stream, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", disk_full)
    with pytest.raises(OSError, match=r"case 1\.v2\.png cannot be written: no space left on device"):
        save(tmp_path, torch.ones(1, 3, 2), ".png")
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_there_stays(tmp_path):
    save(tmp_path, torch.zeros(1, 3, 2), ".png")
    before = (tmp_path / "case 1.v2.png").read_bytes()
    save(tmp_path, torch.ones(1, 3, 2), ".png")
    assert (tmp_path / "case 1.v2.png").read_bytes() == before


def test_other_extensions_raise(tmp_path):
    with pytest.raises(ValueError, match=r"output_ext must be one of \.npy, \.png, got '\.jpg'"):
        SaveImagePredictiond("pred", tmp_path, ".jpg")


INDICES = np.array([[0, 1, 2], [2, 1, 0]])


@pytest.mark.parametrize(
    ("values", "mode"),
    [([0, 1, 2], "P"), ([0, 128, 255], "L"), ([0, 300, 900], "I;16"), ([[0, 0, 0], [9, 0, 0], [0, 7, 9]], "RGB")],
)
def test_mask_of_classes_has_the_values_of_the_classes(tmp_path, values, mode):
    path = tmp_path / "mask.png"
    write_mask(path, INDICES, dict(zip("abc", values, strict=True)))
    with Image.open(path) as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), np.array(values)[INDICES])
    np.testing.assert_array_equal(read_mask(path, class_values=values), INDICES)


def test_palette_shows_the_colours_of_the_classes(tmp_path):
    write_mask(tmp_path / "mask.png", INDICES, {"a": 0, "b": 1, "c": 2})
    np.testing.assert_array_equal(read_natural_image(tmp_path / "mask.png"), class_colors(3)[INDICES])


def test_npy_of_several_channels_is_channels_first(tmp_path):
    values = torch.rand(3, 4, 5)
    save(tmp_path, values, ".npy")
    np.testing.assert_array_equal(np.load(tmp_path / "case 1.v2.npy"), values.numpy())
