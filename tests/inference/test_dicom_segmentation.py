import sys

import numpy as np
import pytest

from condseg_monai import synapse_class_names
from condseg_monai.data.ct.dicom_series import read_dicom_series
from condseg_monai.data.ct.nifti import read_nifti
from condseg_monai.data.ct.synapse import BTCV_ORGANS
from condseg_monai.inference.dicom_segmentation import SNOMED_CODES, write_dicom_seg, write_picture_seg
from tests.ct import AFFINE, oblique_affine, phantom, turned, write_dicom, write_nifti
from tests.dicom import ENDOSCOPY, SECONDARY, VIDEO_ENDOSCOPY, write_picture

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

IMAGE, LABEL = phantom()
NAMES = ("background", "left kidney", "liver", "my organ, \u00e9", "stomach")


@pytest.fixture
def written(tmp_path):
    """A series, its labels, and the file."""
    affine = oblique_affine()
    write_dicom(tmp_path / "s", *turned(IMAGE, affine, "LPS"))
    labels, _ = turned(LABEL, affine, "LPS")
    series = read_dicom_series(tmp_path / "s")
    write_dicom_seg(tmp_path / "out" / "seg.dcm", labels, series, NAMES)
    return series, labels, tmp_path / "out" / "seg.dcm"


def test_another_tool_finds_each_segment_where_its_organ_is(written):
    """By pydicom alone: frames go where their positions say, in the patient's millimetres."""
    series, labels, path = written
    dataset = pydicom.dcmread(path)
    assert (
        dataset.Modality == "SEG"
        and dataset.FrameOfReferenceUID == pydicom.dcmread(series.slice_files[0]).FrameOfReferenceUID
    )
    found = np.zeros_like(labels)
    to_index = np.linalg.inv(series.affine)
    for frame, item in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float) * (-1, -1, 1)
        i, j, k = np.rint(to_index[:3, :3] @ position + to_index[:3, 3]).astype(int)
        assert (i, j) == (0, 0)
        found[:, :, k][frame.T == 1] = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    np.testing.assert_array_equal(found, labels)


def test_itk_reads_the_same_frames(written):
    sitk = pytest.importorskip("SimpleITK")
    _, labels, path = written
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(frames > 0, pydicom.dcmread(path).pixel_array > 0)
    assert (frames > 0).sum() == (labels > 0).sum()


def test_segments_are_named_numbered_and_coded(written):
    segments = pydicom.dcmread(written[2]).SegmentSequence
    assert [(s.SegmentNumber, s.SegmentLabel) for s in segments] == list(enumerate(NAMES))[1:]
    codes = [s.SegmentedPropertyTypeCodeSequence[0] for s in segments]
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in codes] == [
        ("64033007", "SCT"),
        ("10200004", "SCT"),
        ("MY_ORGAN__E_3", "99CONDSEG"),
        ("69695003", "SCT"),
    ]
    assert codes[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"  # left
    assert all(s.SegmentAlgorithmType == "AUTOMATIC" for s in segments)


def test_codes_are_those_of_dicom_s_own_dictionary():
    from pydicom.sr.codedict import codes

    for value, meaning in SNOMED_CODES.values():
        assert getattr(codes.SCT, meaning.title().replace(" ", "")).value == value
    sides = {"left", "right"}
    organs = {name.split(" ", 1)[1] if name.split()[0] in sides else name for name in BTCV_ORGANS}
    assert organs - SNOMED_CODES.keys() == {"portal and splenic vein"}
    assert len(synapse_class_names()) == 9


def test_anonymised_series_without_identifiers_can_be_referred_to(tmp_path):
    empty = dict.fromkeys(("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "FrameOfReferenceUID"), "")
    write_dicom(tmp_path / "s", *turned(IMAGE, AFFINE, "LPS"), **empty)
    series = read_dicom_series(tmp_path / "s")
    for name in ("a.dcm", "b.dcm"):
        write_dicom_seg(tmp_path / name, np.zeros(series.array.shape, np.uint8), series, NAMES)
    a, b = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert a.StudyInstanceUID == b.StudyInstanceUID != "" and a.pixel_array.max() == 0


def test_series_without_slice_thickness_or_file_meta_gives_a_file_that_can_be_read_back(tmp_path):
    import highdicom

    for path in write_dicom(tmp_path / "s", *turned(IMAGE, AFFINE, "LPS"), SliceThickness=None):
        content = path.read_bytes()
        path.write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])
    series = read_dicom_series(tmp_path / "s")
    write_dicom_seg(tmp_path / "seg.dcm", turned(LABEL, AFFINE, "LPS")[0], series, NAMES)
    found = highdicom.seg.segread(tmp_path / "seg.dcm")
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == 5.0
    assert found.get_volume().shape[0] > 1


@pytest.mark.filterwarnings("ignore")
def test_odd_identifiers_do_not_keep_a_file_from_being_written(tmp_path):
    for path in write_dicom(tmp_path / "s", *turned(IMAGE, AFFINE, "LPS")):
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"
        dataset.save_as(path)
        content = path.read_bytes().replace(b"\x10\0\x30\0DA\0\0", b"\x10\0\x30\0DA\x0a\0" + b"1970-01-01")
        assert b"1970-01-01" in content
        path.write_bytes(content)
    series = read_dicom_series(tmp_path / "s")
    write_dicom_seg(tmp_path / "seg.dcm", turned(LABEL, AFFINE, "LPS")[0], series, NAMES)
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    assert str(found.PatientName) == "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce" and not found.PatientBirthDate


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "value"),
    [("StudyTime", "12:00:00"), ("StudyDate", "20209999"), ("PatientBirthDate", "01.02.70"), ("PatientSex", "MALE")],
)
def test_values_that_dicom_does_not_have_are_left_empty(tmp_path, name, value):
    for path in write_dicom(tmp_path / "s", *turned(IMAGE, AFFINE, "LPS")):
        dataset = pydicom.dcmread(path)
        setattr(dataset, name, value)
        dataset.save_as(path)
    series = read_dicom_series(tmp_path / "s")
    write_dicom_seg(tmp_path / "seg.dcm", turned(LABEL, AFFINE, "LPS")[0], series, NAMES)
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    assert not found[name].value and found.PatientID == "1" and found.StudyID == "1"


def test_what_cannot_be_written_is_refused(written, tmp_path):
    series, labels, _ = written
    nifti = read_nifti(write_nifti(tmp_path / "ct.nii", IMAGE, AFFINE))
    with pytest.raises(ValueError, match="is no DICOM series"):
        write_dicom_seg(tmp_path / "x.dcm", LABEL, nifti, NAMES)
    with pytest.raises(ValueError, match="numbers under 3"):
        write_dicom_seg(tmp_path / "x.dcm", labels, series, NAMES[:3])


def test_missing_library_names_the_extra(written, tmp_path, monkeypatch):
    series, labels, _ = written
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match=r"condseg_monai\[dicom\]"):
        write_dicom_seg(tmp_path / "x.dcm", labels, series, NAMES)


class TestPictures:
    MASK = np.zeros((10, 14), np.uint8)
    MASK[2:5, 3:9], MASK[7:, 10:] = 1, 2
    PIXELS = np.random.default_rng(0).integers(0, 256, (3, 10, 14, 3), dtype=np.uint8)
    NAMES = ("background", "polyp", "tool")

    def write(self, folder, *frames: int):
        path = write_picture(folder / "clip.dcm", self.PIXELS, VIDEO_ENDOSCOPY)
        for frame in frames:
            write_picture_seg(folder / f"{frame}.dcm", self.MASK, f"{path}#{frame}", self.NAMES, run="one")
        return pydicom.dcmread(path), [pydicom.dcmread(folder / f"{frame}.dcm") for frame in frames]

    def test_frame_of_a_clip_is_referred_to_by_its_number(self, tmp_path):
        source, (second, third) = self.write(tmp_path, 2, 3)
        for number, found in ((2, second), (3, third)):
            for frame in found.PerFrameFunctionalGroupsSequence:
                (item,) = frame.DerivationImageSequence[0].SourceImageSequence
                assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID and item.ReferencedFrameNumber == number
            (item,) = found.SourceImageSequence
            assert (item.ReferencedSOPClassUID, item.ReferencedFrameNumber) == (VIDEO_ENDOSCOPY, number)
            (series,) = found.ReferencedSeriesSequence
            assert series.SeriesInstanceUID == source.SeriesInstanceUID and found.InstanceNumber == number
        assert second.StudyInstanceUID == source.StudyInstanceUID
        assert second.SeriesInstanceUID == third.SeriesInstanceUID != source.SeriesInstanceUID
        assert second.SOPInstanceUID != third.SOPInstanceUID

    def test_segments_have_the_pixels_and_names_of_their_classes(self, tmp_path):
        _, (found,) = self.write(tmp_path, 1)
        assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["polyp", "tool"]
        assert found.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        for number, frame in enumerate(found.pixel_array, 1):
            np.testing.assert_array_equal(frame, number == self.MASK)

    def test_itk_reads_the_same_pixels(self, tmp_path):
        sitk = pytest.importorskip("SimpleITK")
        self.write(tmp_path, 1)
        frames = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "1.dcm")))
        np.testing.assert_array_equal(frames > 0, np.stack([self.MASK == 1, self.MASK == 2]))

    @pytest.mark.parametrize("sop_class", [ENDOSCOPY, SECONDARY, "1.2.840.10008.5.1.4.1.1.77.1.7"])
    @pytest.mark.parametrize("empty", [False, True])
    def test_single_picture_of_each_kind_has_its_own(self, tmp_path, sop_class, empty):
        import highdicom

        path = write_picture(tmp_path / "a.dcm", self.PIXELS[0], sop_class, FrameOfReferenceUID="1.2.3")
        mask = np.zeros_like(self.MASK) if empty else self.MASK
        write_picture_seg(tmp_path / "seg.dcm", mask, path, self.NAMES)
        found = highdicom.seg.segread(tmp_path / "seg.dcm")
        assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID
        assert "ReferencedFrameNumber" not in found.SourceImageSequence[0]
        labels = found.get_pixels_by_source_instance([pydicom.dcmread(path).SOPInstanceUID], combine_segments=True)
        np.testing.assert_array_equal(labels[0], mask)

    def test_picture_without_identifiers_can_be_referred_to(self, tmp_path):
        names = ("StudyInstanceUID", "SeriesInstanceUID", "PatientName", "PatientID", "StudyDate")
        path = write_picture(tmp_path / "a.dcm", self.PIXELS[0], **dict.fromkeys(names, ""))
        for name in ("x.dcm", "y.dcm"):
            write_picture_seg(tmp_path / name, self.MASK, path, self.NAMES)
        x, y = (pydicom.dcmread(tmp_path / name) for name in ("x.dcm", "y.dcm"))
        assert x.StudyInstanceUID == y.StudyInstanceUID != "" and x.SeriesInstanceUID != y.SeriesInstanceUID

    def test_mask_that_does_not_fit_is_refused(self, tmp_path):
        path = write_picture(tmp_path / "a.dcm", self.PIXELS[0])
        for mask, names in ((self.MASK[1:], self.NAMES), (self.MASK, self.NAMES[:2])):
            with pytest.raises(ValueError, match=r"a\.dcm: its mask must be \(10, 14\)"):
                write_picture_seg(tmp_path / "x.dcm", mask, path, names)
