import pytest

from condseg_monai.data.ct.volume import VolumeError
from condseg_monai.data.ct.volume_list import list_volumes, read_volume
from condseg_monai.data.lists.pairing import DatasetError
from tests.ct import AFFINE, phantom, turned, write_dicom, write_h5, write_nifti

pytest.importorskip("pydicom")
IMAGE, _ = phantom()
DICOM = turned(IMAGE, AFFINE, "LPS")


def test_file_and_series_are_themselves(tmp_path):
    path = write_nifti(tmp_path / "case1.nii.gz", IMAGE, AFFINE)
    write_dicom(tmp_path / "scan", *DICOM)
    assert list_volumes(path) == [("case1", path)]
    assert list_volumes(tmp_path / "scan") == [("scan", tmp_path / "scan")]
    assert not read_volume(path).is_dicom and read_volume(tmp_path / "scan").is_dicom


def test_folder_has_files_and_series_however_deep(tmp_path):
    for name in ("b.nii", "a.nii.gz", ".hidden.nii"):
        write_nifti(tmp_path / name, IMAGE, AFFINE)
    (tmp_path / "notes.txt").write_text("")
    write_h5(tmp_path / "case0001.npy.h5", IMAGE, IMAGE > 0)
    write_dicom(tmp_path / "patient" / "series1", *DICOM)
    write_dicom(tmp_path / "patient" / "series2", *DICOM)
    assert [name for name, _ in list_volumes(tmp_path)] == ["a", "b", "case0001", "patient_series1", "patient_series2"]


def test_volumes_lie_in_folders_of_patients_and_labels_are_left_out(tmp_path, caplog):
    store = tmp_path / "store"
    for name in ("s1/ct", "s1/segmentations/liver", "imagesTr/x_0000", "labelsTr/x", "y.nii/y", ".trash/z"):
        write_nifti(store / f"{name}.nii.gz", IMAGE, AFFINE)
    write_dicom(tmp_path / "elsewhere", *DICOM)
    (store / "s2").symlink_to(tmp_path / "elsewhere")
    (store / "loop").symlink_to(store)
    assert [name for name, _ in list_volumes(store)] == ["imagesTr_x_0000", "s1_ct", "y.nii_y", "s2"]
    assert "2 file(s)" in caplog.text and "x.nii.gz, liver.nii.gz" in caplog.text
    assert [name for name, _ in list_volumes(store / "imagesTr")] == ["x_0000"]


def test_outputs_are_no_inputs(tmp_path):
    for name in ("a", "out/a", "out/probability/a"):
        write_nifti(tmp_path / f"{name}.nii.gz", IMAGE, AFFINE)
    assert list_volumes(tmp_path, tmp_path / "out") == [("a", tmp_path / "a.nii.gz")]
    inner = tmp_path / "out" / "probability"
    assert list_volumes(inner, tmp_path / "out") == [("a", inner / "a.nii.gz")]


def test_list_is_relative_to_its_folder_and_keeps_its_order(tmp_path):
    write_nifti(tmp_path / "ct" / "b.nii", IMAGE, AFFINE)
    write_dicom(tmp_path / "scan", *DICOM)
    (tmp_path / "cases.txt").write_text("scan\nct/b.nii\nct/missing.nii.gz\nscan\n")
    assert [name for name, _ in list_volumes(tmp_path / "cases.txt")] == ["scan", "b", "missing"]


def test_nothing_to_do_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    for source, words in (("empty", "has no volume"), ("a.png", "is not a volume"), ("nowhere", "does not exist")):
        with pytest.raises(DatasetError, match=words):
            list_volumes(tmp_path / source)


def test_no_folder_or_file_is_left_out_without_a_word(tmp_path, caplog):
    write_nifti(tmp_path / "a.nii.gz", IMAGE, AFFINE)
    for name in ("damaged/1.dcm", "other/ct.nrrd"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(bytes(999))
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "1.dcm").symlink_to("nowhere")
    assert [name for name, _ in list_volumes(tmp_path)] == ["a", "damaged", "gone"]
    assert "1 file(s)" in caplog.text and "ct.nrrd" in caplog.text
    for name in ("damaged", "gone"):
        with pytest.raises(VolumeError, match=r"1\.dcm is not a DICOM file"):
            read_volume(tmp_path / name)
