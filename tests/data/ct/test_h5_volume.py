import h5py
import numpy as np
import pytest

from condseg_monai.data.ct.h5_volume import h5_stem, read_h5_volume
from condseg_monai.data.ct.synapse import CT_WINDOW_HU
from condseg_monai.data.ct.volume import VolumeError, axial_slices, axial_spacing
from condseg_monai.data.ct.volume_list import read_volume
from tests.ct import AFFINE, phantom, write_h5

IMAGE, LABEL = phantom()


def test_slices_are_those_of_the_file(tmp_path):
    path = write_h5(tmp_path / "case0001.npy.h5", axial_slices(IMAGE, AFFINE), axial_slices(LABEL, AFFINE))
    image, label = read_volume(path), read_h5_volume(path, "label")
    assert image.array.shape == image.file_shape == IMAGE.shape and not image.is_dicom
    np.testing.assert_array_equal(image.affine, np.diag([-1, -1, 1, 1]))
    units = image.hounsfield(axial_slices(image.array, image.affine))
    np.testing.assert_allclose(units, axial_slices(IMAGE, AFFINE).clip(*CT_WINDOW_HU), atol=1e-4)
    assert (label.slope, label.intercept) == (1, 0)
    np.testing.assert_array_equal(axial_slices(label.array, label.affine), axial_slices(LABEL, AFFINE))


def test_size_of_voxels_is_what_the_file_tells(tmp_path):
    slices = axial_slices(IMAGE, AFFINE)
    path = write_h5(tmp_path / "a.npy.h5", slices, axial_slices(LABEL, AFFINE), spacing_mm=(5.0, 2.0, 1.5))
    volume = read_volume(path)
    assert axial_spacing(volume.affine) == (5.0, 2.0, 1.5)
    assert axial_slices(volume.array, volume.affine).shape == slices.shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((4, 5), np.float32)}, r"image must be \(D, H, W\)"),
        ({"image": np.full((3, 4, 5), 200, np.float32)}, r"windowed to \[0, 1\], got 200 to 200"),
        ({"image": np.full((3, 4, 5), np.nan, np.float32)}, r"windowed to \[0, 1\]"),
        ({"picture": np.zeros((3, 4, 5), np.float32)}, "cannot be read as a volume"),
    ],
)
def test_what_is_no_such_volume_is_refused(tmp_path, change, words):
    path = tmp_path / "a.npy.h5"
    with h5py.File(path, "w") as file:
        for name, array in change.items():
            file[name] = array
    with pytest.raises(VolumeError, match=words):
        read_volume(path)


def replace_image(file, link):
    del file["image"]
    file["image"] = link


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.attrs.update(spacing_mm=(-1, 1, 1)), "spacing_mm must be three numbers above 0"),
        (lambda file: file.attrs.update(spacing_mm=(0, 1, 1)), "spacing_mm must be three numbers above 0"),
        (lambda file: file.attrs.update(spacing_mm=(np.nan, 1, 1)), "spacing_mm must be three numbers above 0"),
        (lambda file: file.attrs.update(spacing_mm="wide"), "cannot be read"),
        (lambda file: replace_image(file, h5py.SoftLink("/")), "cannot be read"),
        (lambda file: replace_image(file, h5py.SoftLink("/image")), "cannot be read"),
    ],
    ids=["negative", "zero", "nan", "text", "group", "loop"],
)
def test_what_hdf5_can_hold_and_a_volume_cannot_is_named(tmp_path, change, words):
    path = tmp_path / "a.npy.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((3, 4, 5), np.float32)
        change(file)
    with pytest.raises(VolumeError, match=rf"a\.npy\.h5 .*{words}"):
        read_volume(path)


def test_a_volume_that_unpacks_to_more_than_the_limit_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.npy.h5", "w") as file:
        file.create_dataset("image", (3, 40_000, 40_000), np.float32, chunks=(1, 1000, 1000), compression="gzip")
    with pytest.raises(VolumeError, match=r"a\.npy\.h5 unpacks to 19200000000 bytes, .* limit of 4294967296"):
        read_volume(tmp_path / "a.npy.h5")


def test_damage_and_absence_are_told(tmp_path):
    (tmp_path / "a.npy.h5").write_bytes(b"no HDF5")
    with pytest.raises(VolumeError, match=r"a\.npy\.h5 cannot be read"):
        read_volume(tmp_path / "a.npy.h5")
    with pytest.raises(VolumeError, match="does not exist"):
        read_volume(tmp_path / "b.npy.h5")


def test_stem_is_without_both_extensions():
    assert h5_stem("x/case0001.npy.h5") == "case0001"
    assert h5_stem("x/case0001.nii.gz") is None
