import gzip

import nibabel
import numpy as np
import pytest

from condseg_monai.data.ct.nifti import nifti_stem, read_nifti
from condseg_monai.data.ct.volume import VolumeError
from tests.ct import AFFINE, phantom, write_nifti

IMAGE, _ = phantom()


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "CT.NII.GZ"])
def test_values_and_affine_are_those_of_the_file(tmp_path, name):
    volume = read_nifti(write_nifti(tmp_path / name, IMAGE, AFFINE))
    assert volume.array.dtype == np.int16 and volume.file_shape == IMAGE.shape and not volume.is_dicom
    np.testing.assert_array_equal(volume.array, IMAGE)
    np.testing.assert_array_equal(volume.affine, AFFINE)


def test_scale_factor_is_kept_apart(tmp_path):
    image = nibabel.Nifti1Image(IMAGE + 0.25, AFFINE, dtype=np.int16)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    volume = read_nifti(tmp_path / "ct.nii.gz")
    assert volume.array.dtype == np.int16 and volume.slope != 1
    np.testing.assert_allclose(volume.hounsfield(volume.array), IMAGE + 0.25, atol=0.02)


def test_fourth_axis_of_length_1_is_taken_off_and_remembered(tmp_path):
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", IMAGE[..., None], AFFINE))
    np.testing.assert_array_equal(volume.array, IMAGE)
    assert volume.file_shape == (*IMAGE.shape, 1)


def test_nifti_2_is_read(tmp_path):
    nibabel.save(nibabel.Nifti2Image(IMAGE, AFFINE), tmp_path / "ct.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "ct.nii").array, IMAGE)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (IMAGE[:, :, 0], "is a 2D image"),
        (IMAGE[:, :, :1], "is a 2D image"),
        (np.stack([IMAGE, IMAGE], axis=-1), "holds several volumes"),
        (IMAGE.astype(np.complex64), "not one number per voxel"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, array, words):
    with pytest.raises(VolumeError, match=words):
        read_nifti(write_nifti(tmp_path / "ct.nii.gz", array, AFFINE))


def test_unknown_orientation_is_refused(tmp_path):
    path = write_nifti(tmp_path / "ct.nii", IMAGE, AFFINE)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(content)
    with pytest.raises(VolumeError, match="left and right cannot be told apart"):
        read_nifti(path)


def test_contradicting_orientations_are_refused(tmp_path):
    image = nibabel.Nifti1Image(IMAGE, AFFINE)
    image.set_qform(np.diag([-1, 1, 1, 1]) @ AFFINE, code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    with pytest.raises(VolumeError, match="RAS by its sform and to LAS by its qform"):
        read_nifti(tmp_path / "ct.nii")


def edited(path, **fields):
    """A NIfTI file with fields of its header as no library writes them."""
    write_nifti(path, IMAGE, AFFINE)
    content = path.read_bytes()
    header = nibabel.Nifti1Header.from_fileobj(path.open("rb"), check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def test_a_qform_that_is_no_rotation_does_not_matter_beside_a_sform(tmp_path):
    path = edited(tmp_path / "ct.nii", quatern_b=0.9, quatern_c=0.9, qform_code=1)
    np.testing.assert_array_equal(read_nifti(path).affine, AFFINE)
    with pytest.raises(VolumeError, match=r"ct\.nii"):
        read_nifti(edited(tmp_path / "ct.nii", quatern_b=0.9, quatern_c=0.9, qform_code=1, sform_code=0))


@pytest.mark.parametrize(("unit", "length"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_units_of_length_count(tmp_path, unit, length):
    volume = read_nifti(edited(tmp_path / "ct.nii", xyzt_units=unit))
    np.testing.assert_allclose(volume.affine[:3], AFFINE[:3] * length)


@pytest.mark.parametrize(
    "fields",
    [
        {"vox_offset": np.inf},
        {"vox_offset": np.nan},
        {"vox_offset": 1e9},
        {"srow_x": [np.nan, 0, 0, 0]},
        {"srow_x": [0, 0, 0, 0]},
        {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
        {"xyzt_units": 7},
        {"scl_slope": np.inf},
    ],
    ids=str,
)
def test_headers_that_make_no_sense_are_refused_by_name(tmp_path, fields):
    path = edited(tmp_path / "ct.nii", **fields)
    for file, content in ((path, None), (tmp_path / "ct.nii.gz", gzip.compress(path.read_bytes()))):
        if content is not None:
            file.write_bytes(content)
        if "scl_slope" in fields:  # no scale, by the standard
            assert read_nifti(file).slope == 1.0
            continue
        with pytest.raises(VolumeError, match=file.name):
            read_nifti(file)


def test_damage_is_told(tmp_path):
    whole = write_nifti(tmp_path / "ct.nii.gz", IMAGE, AFFINE).read_bytes()
    for name, content in {
        "cut.nii.gz": whole[: len(whole) // 2],
        "text.nii.gz": b"no volume",
        "gzipped_text.nii.gz": gzip.compress(b"no volume"),
        "empty.nii": b"",
        "cut.nii": gzip.decompress(whole)[:5000],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VolumeError, match=f"{name} is"):
            read_nifti(tmp_path / name)
    with pytest.raises(VolumeError, match="does not exist"):
        read_nifti(tmp_path / "nowhere.nii")


def test_damage_that_leaves_every_byte_of_voxels_is_told(tmp_path):
    """A changed bit, which the archive's checksum shows, and more bytes than the header's shape has."""
    whole = write_nifti(tmp_path / "ct.nii", IMAGE, AFFINE).read_bytes()
    changed = bytearray(gzip.compress(whole, compresslevel=0))
    changed[5000] ^= 64
    for content, words in ((bytes(changed), "CRC"), (gzip.compress(whole + bytes(2)), "more than the 9360 bytes")):
        (tmp_path / "odd.nii.gz").write_bytes(content)
        with pytest.raises(VolumeError, match=rf"odd\.nii\.gz is damaged: .*{words}"):
            read_nifti(tmp_path / "odd.nii.gz")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_a_stated_limit(tmp_path, kind):
    """By its header alone: none of the voxels is there."""
    header = kind(IMAGE, AFFINE).header
    header.set_sform(AFFINE, code=1)
    header.set_data_shape((2000, 2000, 600))
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(header.binaryblock))
    with pytest.raises(VolumeError, match=r"ct\.nii\.gz unpacks to 4800000000 bytes, .* limit of 4294967296"):
        read_nifti(tmp_path / "ct.nii.gz")


def test_stem_is_without_either_extension():
    assert [nifti_stem(name) for name in ("a/b.nii.gz", "b.NII", "b.v2.nii", "b.gz", "nii")] == [
        "b",
        "b",
        "b.v2",
        None,
        None,
    ]
