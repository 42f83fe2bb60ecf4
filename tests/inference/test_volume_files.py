from dataclasses import replace

import nibabel
import numpy as np
import pytest

from condseg_monai.data.ct.nifti import read_nifti
from condseg_monai.data.ct.volume import Volume, axial_slices
from condseg_monai.inference import volume_files
from condseg_monai.inference.volume_files import score_volume_writer, write_label_volume
from tests.ct import AFFINE, oblique_affine, phantom, turned, write_nifti

IMAGE, LABEL = phantom()
CODES = ("RAS", "LPI", "SPL", "IRA")


@pytest.mark.parametrize("codes", CODES)
def test_label_has_shape_affine_and_values(tmp_path, codes):
    array, affine = turned(IMAGE, oblique_affine(), codes)
    labels, _ = turned(LABEL, oblique_affine(), codes)
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", array, affine))
    write_label_volume(tmp_path / "out" / "ct.nii.gz", labels, volume)
    source, written = nibabel.load(tmp_path / "ct.nii.gz"), nibabel.load(tmp_path / "out" / "ct.nii.gz")
    assert written.get_data_dtype() == np.uint8 and written.shape == source.shape
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(written.header[field], source.header[field])


@pytest.mark.parametrize(("name", "start"), [("label.nii.gz", b"\x1f\x8b"), ("label.nii", b"\x5c\x01")])
def test_label_is_compressed_as_its_name_says(tmp_path, name, start):
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", IMAGE, AFFINE))
    write_label_volume(tmp_path / name, LABEL, volume)
    assert (tmp_path / name).read_bytes()[:2] == start
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / name).dataobj), LABEL)


def test_label_of_a_file_with_scale_factor_fourth_axis_and_other_byte_order(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header["cal_max"] = 300
    image = nibabel.Nifti1Image(IMAGE[..., None] + 0.5, AFFINE, header)
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    volume = read_nifti(tmp_path / "ct.nii.gz")
    write_label_volume(tmp_path / "label.nii.gz", LABEL, volume)
    written = nibabel.load(tmp_path / "label.nii.gz")
    assert written.shape == (*IMAGE.shape, 1) and written.header["cal_max"] == 0
    np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 0], LABEL)


@pytest.mark.parametrize("codes", CODES)
def test_itk_finds_labels_where_they_are(tmp_path, codes):
    """A second reader, of a source with one of the two forms, both, or none as of a DICOM series."""
    sitk = pytest.importorskip("SimpleITK")
    array, affine = turned(IMAGE, oblique_affine(), codes)
    for forms in ("sform", "qform", "both", "neither"):
        image = nibabel.Nifti1Image(array, affine)
        image.set_sform(affine, code=0 if forms == "qform" else 1)
        image.set_qform(affine, code=0 if forms == "sform" else 1)
        nibabel.save(image, tmp_path / "ct.nii")
        volume = read_nifti(tmp_path / "ct.nii")
        volume = replace(volume, header=None) if forms == "neither" else volume
        write_label_volume(tmp_path / "label.nii.gz", np.zeros(array.shape, np.uint8), volume)
        found = sitk.ReadImage(str(tmp_path / "label.nii.gz"))
        for index in ((0, 0, 0), tuple(size - 1 for size in array.shape)):
            place = np.array(found.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
            np.testing.assert_allclose(place, (affine @ [*index, 1])[:3], atol=1e-3, err_msg=forms)


@pytest.mark.parametrize("qform_code", [0, 1])
@pytest.mark.parametrize("fields", [{"pixdim": [1] * 8}, {"pixdim": [1] + 7 * [0]}, {"quatern_b": np.nan}])
def test_itk_finds_labels_where_the_sform_says_whatever_the_rest_of_the_header(tmp_path, fields, qform_code):
    sitk = pytest.importorskip("SimpleITK")
    image = nibabel.Nifti1Image(IMAGE, AFFINE)
    image.set_sform(AFFINE, code=1)
    image.set_qform(AFFINE, code=qform_code)
    nibabel.save(image, tmp_path / "ct.nii")
    content = (tmp_path / "ct.nii").read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    (tmp_path / "ct.nii").write_bytes(header.binaryblock + content[348:])
    write_label_volume(tmp_path / "label.nii.gz", LABEL, read_nifti(tmp_path / "ct.nii"))
    found = sitk.ReadImage(str(tmp_path / "label.nii.gz"))
    place = np.array(found.TransformIndexToPhysicalPoint((3, 4, 8))) * (-1, -1, 1)
    np.testing.assert_allclose(place, (AFFINE @ [3, 4, 8, 1])[:3], atol=1e-3)


SHEARED = AFFINE + np.array([[0.0] * 4, [0, 0, 1.2, 0], [0.0] * 4, [0.0] * 4])


@pytest.mark.parametrize("sform_code", [1, 2, 4])
@pytest.mark.parametrize(
    ("sform", "qform"),
    [(SHEARED, SHEARED), (oblique_affine(), AFFINE), (AFFINE, oblique_affine()), (AFFINE, AFFINE + np.eye(4, k=3))],
    ids=["sheared", "oblique sform", "oblique qform", "shifted"],
)
def test_no_reader_places_labels_by_a_qform_that_contradicts_the_sform(tmp_path, sform, qform, sform_code):
    sitk = pytest.importorskip("SimpleITK")
    image = nibabel.Nifti1Image(IMAGE, sform)
    image.set_sform(sform, code=sform_code)
    image.set_qform(qform, code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    volume = read_nifti(tmp_path / "ct.nii")
    write_label_volume(tmp_path / "label.nii.gz", LABEL, volume)
    with score_volume_writer(tmp_path / "scores.nii", volume) as write:
        write(0, np.zeros((26, 20)))
    for name in ("label.nii.gz", "scores.nii"):
        np.testing.assert_allclose(nibabel.load(tmp_path / name).affine, sform, atol=1e-5)
        if sform is SHEARED:
            with pytest.raises(RuntimeError, match="orthonormal"):
                sitk.ReadImage(str(tmp_path / name))
            continue
        place = np.array(sitk.ReadImage(str(tmp_path / name)).TransformIndexToPhysicalPoint((3, 4, 8))) * (-1, -1, 1)
        np.testing.assert_allclose(place, (sform @ [3, 4, 8, 1])[:3], atol=1e-3)


def test_no_reader_places_labels_of_a_tilted_gantry_elsewhere(tmp_path):
    """A qform has no shear, so that it is left unset; ITK, which takes no shear at all, then refuses the file."""
    sitk = pytest.importorskip("SimpleITK")
    array, affine = turned(IMAGE, AFFINE, "LPS")
    affine[1, 2] = 1.2
    volume = Volume(tmp_path, array, affine, file_shape=array.shape)
    write_label_volume(tmp_path / "label.nii.gz", np.zeros(array.shape, np.uint8), volume)
    header = nibabel.load(tmp_path / "label.nii.gz").header
    assert header["qform_code"] == 0 and header["sform_code"] == 1
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-5)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "label.nii.gz"))


def test_same_labels_are_the_same_bytes(tmp_path):
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", IMAGE, AFFINE))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_volume(tmp_path / name, LABEL, volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_labels_of_another_shape_or_type_are_refused(tmp_path):
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", IMAGE, AFFINE))
    for labels in (LABEL[1:], LABEL.astype(np.int16)):
        with pytest.raises(ValueError, match="labels must be uint8"):
            write_label_volume(tmp_path / "label.nii.gz", labels, volume)
    assert not (tmp_path / "label.nii.gz").exists()


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("name", ["p.nii", "p.nii.gz"])
def test_scores_of_slices_come_to_their_place(tmp_path, monkeypatch, codes, name):
    monkeypatch.setattr(volume_files, "_CHUNK_VALUES", 1000)
    array, affine = turned(IMAGE, AFFINE, codes)
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", array, affine))
    scores = np.random.default_rng(0).random((*array.shape, 3))
    with score_volume_writer(tmp_path / "out" / name, volume) as write:
        for index, slice_ in enumerate(axial_slices(scores, affine)):
            write(index, slice_)
    written = nibabel.load(tmp_path / "out" / name)
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_allclose(written.get_fdata(), scores, atol=0.51 / 65535)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_nothing_is_left_where_the_block_fails(tmp_path):
    volume = read_nifti(write_nifti(tmp_path / "ct.nii.gz", IMAGE, AFFINE))
    with pytest.raises(RuntimeError), score_volume_writer(tmp_path / "out" / "u.nii", volume) as write:
        write(0, np.zeros((26, 20)))
        raise RuntimeError
    assert list((tmp_path / "out").iterdir()) == []
