from pathlib import Path

import numpy as np
import pytest

from condseg_monai.data.ct.dicom_series import list_dicom_files, read_dicom_series
from condseg_monai.data.ct.volume import VolumeError, axial_slices, check_hounsfield
from tests.ct import AFFINE, at_same_places, oblique_affine, phantom, turned, write_dicom

pydicom = pytest.importorskip("pydicom")

IMAGE, _ = phantom()


def edit(path: Path, **tags) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.fixture
def series(tmp_path):
    """A folder with one series, and its files from feet to head."""
    folder = tmp_path / "series"
    return folder, write_dicom(folder, *turned(IMAGE, AFFINE, "LPS"))


class TestGeometry:
    @pytest.mark.parametrize("affine", [AFFINE, oblique_affine()], ids=["straight", "oblique"])
    @pytest.mark.parametrize("codes", ["LPS", "RAS", "LPI", "PSL", "SRA"])
    def test_every_voxel_is_where_it_was_in_the_patient(self, tmp_path, affine, codes):
        write_dicom(tmp_path / "s", *turned(IMAGE, affine, codes))
        volume = read_dicom_series(tmp_path / "s")
        units = volume.hounsfield(volume.array)
        np.testing.assert_array_equal(at_same_places(units, volume.affine, IMAGE, affine), units)
        np.testing.assert_array_equal(
            volume.hounsfield(axial_slices(volume.array, volume.affine)), axial_slices(IMAGE, affine)
        )

    def test_is_that_of_itk(self, tmp_path):
        sitk = pytest.importorskip("SimpleITK")
        write_dicom(tmp_path / "s", *turned(IMAGE, oblique_affine(), "LPS"))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
        image = reader.Execute()
        matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        volume = read_dicom_series(tmp_path / "s")
        np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-1, -1, 1]) @ matrix, atol=1e-5)
        np.testing.assert_allclose(volume.affine[:3, 3], np.array([-1, -1, 1]) * image.GetOrigin(), atol=1e-4)
        units = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        np.testing.assert_array_equal(volume.hounsfield(volume.array), units)

    def test_tilted_gantry_is_in_the_affine(self, tmp_path):
        affine = turned(IMAGE, AFFINE, "LPS")[1].copy()
        affine[1, 2] = 1.2  # each slice lies a little further to the front
        write_dicom(tmp_path / "s", turned(IMAGE, AFFINE, "LPS")[0], affine)
        np.testing.assert_allclose(read_dicom_series(tmp_path / "s").affine, affine, atol=1e-6)

    def test_slices_of_different_intercepts_are_scaled_one_by_one(self, series):
        folder, files = series
        pixels = pydicom.dcmread(files[2]).pixel_array
        edit(files[2], PixelData=(pixels - 24).astype("<u2").tobytes(), RescaleIntercept="-1000")
        volume = read_dicom_series(folder)
        assert volume.array.dtype == np.float32
        np.testing.assert_array_equal(volume.hounsfield(volume.array), turned(IMAGE, AFFINE, "LPS")[0])

    def test_files_go_with_their_slices(self, series):
        folder, files = series
        volume = read_dicom_series(folder)
        assert list(volume.slice_files) == files and volume.is_dicom
        assert [path.name for path in files] != sorted(path.name for path in files)

    def test_real_series_lies_as_its_tags_say(self, real_data):
        volume = read_dicom_series(real_data / "ct-abdomen" / "dicom")
        check_hounsfield(volume)
        assert volume.array.shape == (512, 512, 20)
        np.testing.assert_allclose(np.diag(volume.affine), [-0.9765625, -0.9765625, 2.0, 1.0])
        np.testing.assert_allclose(volume.affine[:3, 3], [249.51171875, 437.51171875, -804.5])
        sitk = pytest.importorskip("SimpleITK")
        oriented = sitk.DICOMOrient(sitk.ReadImage([str(path) for path in volume.slice_files]), "LPS")
        slices = volume.hounsfield(axial_slices(volume.array, volume.affine))
        np.testing.assert_array_equal(slices, sitk.GetArrayFromImage(oriented))


class TestOddFiles:
    @pytest.mark.parametrize("keep_meta", [True, False])
    def test_files_without_preamble_are_slices_too(self, series, keep_meta):
        """From old archives, and of network transfers: the data set starts at once, with or without file meta."""
        folder, files = series
        expected = read_dicom_series(folder).array
        for path in files[2:6]:
            content = path.read_bytes()
            assert content[128:132] == b"DICM"
            meta = 132 + 12 + int.from_bytes(content[140:144], "little")
            path.write_bytes(content[132 if keep_meta else meta :])
        volume = read_dicom_series(folder)
        assert list(volume.slice_files) == files
        np.testing.assert_array_equal(volume.array, expected)

    def test_jpeg_lossless_is_decoded(self, series):
        gdcm = pytest.importorskip("gdcm")
        folder, files = series
        expected = read_dicom_series(folder).array
        for path in files:
            reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
            reader.SetFileName(str(path))
            assert reader.Read()
            change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer.SetFileName(str(path))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
        assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID.is_compressed
        np.testing.assert_array_equal(read_dicom_series(folder).array, expected)

    def test_compression_without_its_decoder_names_the_extra(self, series, monkeypatch):
        folder, files = series
        dataset = pydicom.dcmread(files[0])
        dataset.compress(pydicom.uid.RLELossless)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        dataset.save_as(files[0])
        monkeypatch.setattr(pydicom.pixels.decoders.base.Decoder, "is_available", False)
        with pytest.raises(VolumeError, match=r"needs python-gdcm: pip install \"condseg_monai\[dicom\]"):
            read_dicom_series(folder)

    def test_one_number_in_two_spellings_is_one_number(self, series):
        folder, files = series
        for k, path in enumerate(files):
            edit(path, KVP="120.0" if k % 2 else "120")
        read_dicom_series(folder)

    def test_times_that_grow_along_the_scan_are_one_scan(self, series):
        folder, files = series
        for k, path in enumerate(files):
            edit(path, AcquisitionTime=f"1200{k * 6:02d}.5")
        read_dicom_series(folder)

    def test_reconstruction_in_some_other_order_is_one_scan(self, series):
        """Blocks that come late, hearts that beat a little unevenly, an acquisition for each block."""
        folder, files = series
        for path in files:
            k = round(float(pydicom.dcmread(path).ImagePositionPatient[2]) / 5) + 60
            late = (k // 3) % 2
            edit(path, ContentTime=f"120{late}{k % 60:02d}", TriggerTime=f"{700 + 20 * late}", AcquisitionNumber=k // 3)
        read_dicom_series(folder)


class TestBadInput:
    def test_padding_of_stored_values_does_not_make_them_hounsfield_units(self, tmp_path):
        files = write_dicom(tmp_path / "s", *turned(IMAGE, AFFINE, "LPS"), PixelRepresentation=1)
        for path in files:
            dataset = pydicom.dcmread(path)
            pixels = dataset.pixel_array.astype("<i2")
            pixels[0, 0] = -2000
            del dataset.RescaleIntercept
            dataset.PixelData = pixels.tobytes()
            dataset.save_as(path)
        with pytest.raises(VolumeError, match="no RescaleSlope and RescaleIntercept"):
            read_dicom_series(tmp_path / "s")

    @pytest.mark.parametrize(
        ("name", "before", "after"),
        [
            ("AcquisitionTime", "", ""),
            ("AcquisitionDateTime", "20200101", "+0100"),
            ("AcquisitionDateTime", "20200101", ""),
        ],
    )
    def test_slices_of_two_phases_between_each_other(self, series, name, before, after):
        folder, files = series
        for k, path in enumerate(files):
            edit(path, **{name: f"{before}1200{30 * (k % 2) + k:02d}{after}"})
        with pytest.raises(VolumeError, match="different acquisition times between each other"):
            read_dicom_series(folder)

    @pytest.mark.parametrize(
        ("tags", "words"),
        [
            (lambda k: {"ContentTime": f"12{k % 2:02d}{k:02d}"}, "content times"),
            (lambda k: {"ContentTime": f"12{k % 2:02d}", "AcquisitionTime": "115900"}, "content times"),
            (lambda k: {"TriggerTime": f"{400 * (k % 2)}"}, "trigger times"),
            (lambda k: {"AcquisitionNumber": k % 2}, "acquisition numbers"),
        ],
    )
    def test_phases_that_another_tag_tells_apart(self, series, tags, words):
        folder, files = series
        for path in files:
            edit(path, **tags(round(float(pydicom.dcmread(path).ImagePositionPatient[2]) / 5) + 60))
        with pytest.raises(VolumeError, match=f"different {words} between each other"):
            read_dicom_series(folder)

    @pytest.mark.parametrize("unit", ["OD", "HU_MOD", "z_eff"])
    def test_values_of_other_units(self, series, unit):
        folder, files = series
        edit(files[5], RescaleType=unit)
        with pytest.raises(VolumeError, match=rf"{files[5].name} has values of RescaleType {unit.upper()}"):
            read_dicom_series(folder)

    def test_unspecified_unit_is_taken_as_hounsfield_and_said(self, series, caplog):
        folder, files = series
        edit(files[5], RescaleType="US")
        edit(files[6], RescaleType="HU")
        read_dicom_series(folder)
        assert f"{files[5].name} of {folder}: RescaleType US" in caplog.text

    def test_a_series_that_unpacks_to_gigabytes_is_refused_by_a_stated_limit(self, series):
        folder, files = series
        for path in files:
            edit(path, Rows=20000, Columns=20000)
        with pytest.raises(VolumeError, match=r"unpacks to 7200000000 bytes, more than the limit of 4294967296"):
            read_dicom_series(folder)

    @pytest.mark.parametrize("preamble", [True, False])
    def test_a_deflated_file_is_refused_before_it_is_unpacked(self, series, preamble):
        folder, files = series
        dataset = pydicom.dcmread(files[5])
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.save_as(files[5])
        files[5].write_bytes(files[5].read_bytes()[0 if preamble else 132 : -200])  # zlib would not get to its end
        with pytest.raises(VolumeError, match=f"{files[5].name} .* it is deflated"):
            read_dicom_series(folder)

    def test_other_files_are_left_alone_and_named(self, series, caplog):
        folder, files = series
        (folder / "README.txt").write_text("no image")
        directory = b"\0" * 128 + b"DICM" + b"\2\0\2\0UI\x14\0" + b"1.2.840.10008.1.3.10"  # 20 letters: no padding
        (folder / "DICOMDIR").write_bytes(directory + b"\2\0\3\0")
        assert list_dicom_files(folder) == sorted(files)
        read_dicom_series(folder)
        assert "1 file(s)" in caplog.text and "README.txt" in caplog.text
        for name in ("x.dcm", "x.IMA"):
            (folder / name).write_bytes(b"")
            with pytest.raises(VolumeError, match=rf"{name} is not a DICOM file"):
                read_dicom_series(folder)
            (folder / name).unlink()

    @pytest.mark.parametrize("extension", ["", ".img", ".7"])
    def test_a_damaged_slice_at_an_end_is_not_left_out(self, series, extension):
        """One of those between would be missed."""
        folder, files = series
        for path in files:
            path.rename(path.with_name(path.name + extension))
        (folder / "README.txt").write_text("no image")
        (folder / (files[0].name + extension)).write_bytes(bytes(999))
        with pytest.raises(VolumeError, match=rf"{files[0].name + extension} is not a DICOM file"):
            read_dicom_series(folder)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.2.1\0"),  # the transfer syntax
            (b"\x28\0\x52\x10DS", b"\x28\0\x52\x10\x44\x14"),  # the type of RescaleIntercept
            (b"-1024", b"-1x24"),
        ],
    )
    def test_damaged_values_are_named_with_their_file(self, series, old, new):
        folder, files = series
        content = files[3].read_bytes()
        assert content.count(old) == 1
        files[3].write_bytes(content.replace(old, new))
        with pytest.raises(VolumeError, match=files[3].name):
            read_dicom_series(folder)

    def test_missing_slice(self, series):
        folder, files = series
        files[4].unlink()
        with pytest.raises(VolumeError, match=r"misses slices.*5 mm mostly.*-285 mm .* to -275 mm"):
            read_dicom_series(folder)

    @pytest.mark.parametrize(
        ("move", "words"),
        [
            (lambda k: (30 * (3 <= k <= 5), 0, 0), "lies 30.0 mm from where"),  # another field of view
            (lambda k: (0, 0, 0.4 * abs(k - 4)), r"lies 1\.6 mm from where"),  # 4.6 mm apart, later 5.4
        ],
    )
    def test_slices_that_are_not_in_one_line(self, series, move, words):
        folder, files = series
        for k, path in enumerate(files):
            place = np.array(pydicom.dcmread(path).ImagePositionPatient, dtype=float) + move(k)
            edit(path, ImagePositionPatient=[f"{value:g}" for value in place])
        with pytest.raises(VolumeError, match=f"not in one line.*{words}"):
            read_dicom_series(folder)

    def test_slice_twice(self, series):
        folder, files = series
        dataset = pydicom.dcmread(files[3])
        dataset.SOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(folder / "again.dcm")
        with pytest.raises(VolumeError, match=r"in the place of another, such as .*again\.dcm at -285 mm"):
            read_dicom_series(folder)

    def test_two_series(self, series):
        folder, _ = series
        for path in write_dicom(folder.parent / "other", *turned(IMAGE, AFFINE, "LPS")):
            path.rename(folder / f"other_{path.name}")
        with pytest.raises(VolumeError, match="holds 2 series; give each its own folder"):
            read_dicom_series(folder)

    @pytest.mark.parametrize(
        ("tags", "words"),
        [
            ({"Modality": "MR"}, "of modality MR"),
            ({"NumberOfFrames": 3}, "multi-frame"),
            ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME2"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, "MONOCHROME2"),
            ({"BitsStored": 12}, "HighBit 15 of 12 bits"),
            ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "different orientations"),
            ({"PixelSpacing": ["3", "3"]}, "different pixel spacings"),
            ({"Rows": 13}, "different heights"),
            ({"FrameOfReferenceUID": "1.2"}, "different frames of reference"),
            ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
            ({"PixelData": b"\0\0"}, "cannot be decoded"),
            ({"ConvolutionKernel": "B60f"}, "different reconstruction kernels"),
            ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "different image types"),
            ({"KVP": "80"}, "different tube voltages"),
            ({"TemporalPositionIdentifier": 2}, "different temporal positions"),
            ({"RescaleIntercept": None}, "no RescaleSlope and RescaleIntercept"),
            ({"RescaleSlope": ["1", "2"]}, r"RescaleSlope \[1, 2\], not 1 finite numbers"),
            ({"PixelSpacing": "2"}, r"PixelSpacing '2', not 2 finite numbers"),
            ({"ImagePositionPatient": ["1", "2"]}, "ImagePositionPatient .* not 3 finite numbers"),
        ],
    )
    def test_slice_that_does_not_belong(self, series, tags, words):
        folder, files = series
        edit(files[5], **tags)
        with pytest.raises(VolumeError, match=words):
            read_dicom_series(folder)

    def test_one_slice_or_none(self, series, tmp_path):
        folder, files = series
        for path in files[1:]:
            path.unlink()
        with pytest.raises(VolumeError, match="has one slice"):
            read_dicom_series(folder)
        files[0].unlink()
        with pytest.raises(VolumeError, match="no DICOM file"):
            read_dicom_series(folder)

    def test_enhanced_ct_in_one_file(self, series):
        """Its geometry is in sequences of each frame, so that nothing of it may be missed for another reason."""
        folder, files = series
        for path in files[1:]:
            path.unlink()
        dataset = pydicom.dcmread(files[0])
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
        dataset.NumberOfFrames, dataset.PixelData = 3, 3 * dataset.PixelData
        for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
            delattr(dataset, name)
        dataset.save_as(files[0])
        with pytest.raises(VolumeError, match="is a multi-frame image; convert it to a file per slice, or to NIfTI"):
            read_dicom_series(folder)

    def test_damaged_file(self, series):
        folder, files = series
        files[0].write_bytes(files[0].read_bytes()[:400])
        with pytest.raises(VolumeError, match=files[0].name):
            read_dicom_series(folder)
