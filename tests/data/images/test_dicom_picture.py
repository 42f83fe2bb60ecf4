import sys

import numpy as np
import pytest
from PIL import Image

from condseg_monai.data.dicom_files import DicomError
from condseg_monai.data.images.dicom_picture import PICTURE_CLASSES, frame_of, frames_of
from condseg_monai.data.images.image_reader import UnreadableImageError, read_natural_image
from tests.ct import AFFINE, phantom, turned, write_dicom
from tests.dicom import SECONDARY, VIDEO_ENDOSCOPY, as_jpeg, dicom_picture, jpeg, save, write_picture

pydicom = pytest.importorskip("pydicom")

COLOURS = np.random.default_rng(0).integers(0, 256, (3, 10, 14, 3), dtype=np.uint8)
FRAME = COLOURS[0]


def smooth(height: int = 32, width: int = 48) -> np.ndarray:
    """Three frames that JPEG hardly changes, each of another colour."""
    y, x = np.mgrid[:height, :width].astype(float)
    ramps = [np.stack((y * 4, x * 3, np.full_like(x, 60 * k + 40)), axis=-1) for k in range(3)]
    return np.stack(ramps).astype(np.uint8)


class TestPixels:
    def test_rgb_by_pixel_and_by_plane(self, tmp_path):
        path = write_picture(tmp_path / "a.dcm", FRAME)
        np.testing.assert_array_equal(read_natural_image(path), FRAME)
        planes = FRAME.transpose(2, 0, 1).copy().tobytes()
        write_picture(path, FRAME, PlanarConfiguration=1, PixelData=planes)
        np.testing.assert_array_equal(read_natural_image(path), FRAME)

    @pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
    def test_luma_and_chroma_become_rgb(self, tmp_path, photometric):
        """Against Pillow's conversion, which is JPEG's, as DICOM's is."""
        image = smooth()[0]
        ycc = np.asarray(Image.fromarray(image).convert("YCbCr"))
        stored = ycc
        if photometric.endswith("422"):  # two of Y, one of each other
            stored = np.stack((ycc[:, ::2, 0], ycc[:, 1::2, 0], ycc[:, ::2, 1], ycc[:, ::2, 2]), axis=-1)
        path = write_picture(
            tmp_path / "a.dcm", image, PhotometricInterpretation=photometric, PixelData=stored.tobytes()
        )
        found = read_natural_image(path)
        assert np.abs(found.astype(int) - image).max() <= (3 if photometric == "YBR_FULL" else 6)
        assert np.abs(found.astype(int) - image).mean() < 2

    def test_grey_and_inverted_grey(self, tmp_path):
        grey = FRAME[..., 0]
        path = write_picture(tmp_path / "a.dcm", grey)
        np.testing.assert_array_equal(read_natural_image(path, "gray"), grey)
        write_picture(path, 255 - grey, PhotometricInterpretation="MONOCHROME1")
        np.testing.assert_array_equal(read_natural_image(path), np.repeat(grey[..., None], 3, axis=2))

    def test_twelve_and_sixteen_bits_are_scaled_by_their_white(self, tmp_path):
        values = np.array([[0, 1000, 4095]], np.uint16)
        path = write_picture(tmp_path / "a.dcm", values, BitsStored=12, HighBit=11)
        np.testing.assert_allclose(read_natural_image(path, "gray"), values / 4095 * 255, rtol=1e-6)
        colours = FRAME.astype(np.uint16) * 257
        write_picture(path, colours)
        np.testing.assert_allclose(read_natural_image(path), FRAME, rtol=1e-6)

    def test_packed_bits_are_black_and_white(self, tmp_path):
        mask = FRAME[..., 0] > 127
        bits = np.packbits(mask.ravel(), bitorder="little").tobytes()
        one_bit = dict.fromkeys(("BitsAllocated", "BitsStored"), 1) | {"HighBit": 0}
        path = write_picture(tmp_path / "a.dcm", mask.astype(np.uint8), SECONDARY, PixelData=bits + b"\0", **one_bit)
        np.testing.assert_array_equal(read_natural_image(path, "gray"), mask * 255)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_palette_indices_become_their_colours(self, tmp_path, bits):
        palette = np.random.default_rng(1).integers(0, 256, (256, 3))
        indices = FRAME[..., 0]
        tags = {"PhotometricInterpretation": "PALETTE COLOR"}
        for i, name in enumerate(("Red", "Green", "Blue")):
            tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
            entries = palette[:, i].astype(np.uint8) if bits == 8 else (palette[:, i] * 257).astype("<u2")
            tags[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
        path = write_picture(tmp_path / "a.dcm", indices, "1.2.840.10008.5.1.4.1.1.6.1", **tags)
        np.testing.assert_allclose(read_natural_image(path), palette[indices], rtol=1e-6)

    def test_window_of_a_grey_picture_is_applied(self, tmp_path):
        values = np.array([[0, 100, 150, 200, 255]], np.uint8)
        path = write_picture(tmp_path / "a.dcm", values, WindowCenter="150.5", WindowWidth="101")
        np.testing.assert_array_equal(read_natural_image(path, "gray")[0], [0, 0, 128, 255, 255])

    def test_jpeg_is_decoded(self, tmp_path):
        path = save(as_jpeg(dicom_picture(smooth()[0]), smooth()[:1]), tmp_path / "a.dcm")
        expected = read_natural_image(jpeg(smooth()[0]))
        assert np.abs(read_natural_image(path).astype(int) - expected).max() <= 3

    @pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless", "JPEGLSLossless"])
    def test_lossless_kinds_are_exact(self, tmp_path, syntax):
        dataset = dicom_picture(smooth()[0])
        try:
            dataset.compress(getattr(pydicom.uid, syntax))
        except (RuntimeError, NotImplementedError):
            pytest.skip(f"no encoder of {syntax} here")
        np.testing.assert_array_equal(read_natural_image(save(dataset, tmp_path / "a.dcm")), smooth()[0])

    def test_another_reader_sees_the_same(self, tmp_path):
        sitk = pytest.importorskip("SimpleITK")
        path = write_picture(tmp_path / "a.dcm", FRAME, SECONDARY)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0], read_natural_image(path))


class TestFrames:
    def test_frames_come_in_their_order(self, tmp_path):
        path = write_picture(tmp_path / "clip.dcm", np.concatenate([COLOURS] * 4), VIDEO_ENDOSCOPY)
        names = [name for _, name in frames_of(path)]
        assert names == sorted(names) == [f"clip_{number:02d}" for number in range(1, 13)]
        for i, (frame, _) in enumerate(frames_of(path)):
            np.testing.assert_array_equal(read_natural_image(frame), COLOURS[i % 3])

    def test_compressed_frames_come_in_their_order(self, tmp_path):
        path = save(as_jpeg(dicom_picture(smooth(), VIDEO_ENDOSCOPY), smooth()), tmp_path / "clip.dcm")
        for frame, expected in zip(frames_of(path), smooth(), strict=True):
            assert np.abs(read_natural_image(frame[0]).astype(int) - expected).mean() < 3

    def test_file_of_frames_needs_the_name_of_one(self, tmp_path):
        path = write_picture(tmp_path / "clip.dcm", COLOURS, VIDEO_ENDOSCOPY)
        for source in (path, path.read_bytes()):
            with pytest.raises(UnreadableImageError, match="it has 3 frames: name one of them"):
                read_natural_image(source)
        with pytest.raises(UnreadableImageError, match=r"clip\.dcm#4: it has 3 frame"):
            read_natural_image(f"{path}#4")
        assert frames_of(f"{path}#2") == [(f"{path}#2", "clip_2")]

    def test_number_sign_in_the_name_of_a_file_is_no_frame(self, tmp_path):
        path = tmp_path / "scan#2"
        Image.fromarray(FRAME).save(path, format="PNG")
        assert frame_of(path) == (path, None)
        np.testing.assert_array_equal(read_natural_image(path), FRAME)

    def test_name_of_a_file_that_is_a_uid_is_kept_whole(self, tmp_path):
        path = write_picture(tmp_path / "1.2.840.7.11", FRAME)
        assert frames_of(path) == [(str(path), "1.2.840.7.11")]


class TestRefused:
    def test_ct_slice_is_no_picture(self, tmp_path):
        image, _ = phantom()
        (path, *_) = write_dicom(tmp_path, *turned(image, AFFINE, "LPS"))
        with pytest.raises(ValueError, match=r"it is CT Image, and no endoscopy.*a model of CT reads the folder"):
            frames_of(path)
        with pytest.raises(UnreadableImageError, match="it is CT Image"):
            read_natural_image(path)

    @pytest.mark.parametrize(
        ("tags", "words"),
        [
            ({"HighBit": 9, "BitsStored": 8, "BitsAllocated": 16}, "HighBit 9"),
            ({"PhotometricInterpretation": "HSV"}, "it is HSV of 3 samples"),
            ({"PixelData": b"\0" * 8}, "cannot be decoded"),
            ({"PixelRepresentation": 1}, "signed"),
            ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, "VL Whole Slide Microscopy Image, and no"),
        ],
    )
    def test_what_is_no_picture_here_is_named(self, tmp_path, tags, words):
        path = write_picture(tmp_path / "a.dcm", FRAME)
        dataset = pydicom.dcmread(path)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
        with pytest.raises(UnreadableImageError, match=words) as raised:
            read_natural_image(path)
        assert "a.dcm" in str(raised.value)

    def test_values_with_a_scale_of_their_own(self, tmp_path):
        path = write_picture(
            tmp_path / "a.dcm", FRAME[..., 0], SECONDARY, RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"
        )
        with pytest.raises(UnreadableImageError, match="scale of their own"):
            read_natural_image(path)

    @pytest.mark.parametrize(
        ("syntax", "words"),
        [
            ("HTJ2KLossless", r"needs a decoder: pip install .*condseg_monai\[dicom\].*pylibjpeg"),
            ("MPEG4HP41", "pydicom does not decode"),
        ],
    )
    def test_missing_decoder_is_named(self, tmp_path, syntax, words):
        dataset = as_jpeg(dicom_picture(smooth(), VIDEO_ENDOSCOPY), smooth())
        dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        path = save(dataset, tmp_path / "clip.dcm")
        if words.startswith("needs") and pydicom.pixels.get_decoder(dataset.file_meta.TransferSyntaxUID).is_available:
            pytest.skip("its decoder is installed")
        with pytest.raises(UnreadableImageError, match=words):
            read_natural_image(f"{path}#1")

    @pytest.mark.parametrize("content", [b"", b"\0" * 200, b"\0" * 128 + b"DICM" + b"\xff" * 50])
    def test_damaged_file_is_named(self, tmp_path, content):
        path = tmp_path / "a.dcm"
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError, match=r"a\.dcm"):
            read_natural_image(path)

    def test_deflated_file_is_refused_before_it_is_unpacked(self, tmp_path):
        dataset = dicom_picture(FRAME)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        path = save(dataset, tmp_path / "a.dcm")
        with pytest.raises(DicomError, match="it is deflated"):
            frames_of(path)

    def test_too_many_pixels(self, tmp_path, monkeypatch):
        path = write_picture(tmp_path / "a.dcm", FRAME)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(UnreadableImageError, match="14x10 pixels are more than the limit of 100"):
            read_natural_image(path)

    def test_missing_library_names_the_extra(self, tmp_path, monkeypatch):
        path = write_picture(tmp_path / "a.dcm", FRAME)
        monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
        with pytest.raises(ImportError, match=r"condseg_monai\[dicom\]"):
            read_natural_image(path)


def test_file_without_preamble_is_read(tmp_path):
    path = write_picture(tmp_path / "a.dcm", FRAME)
    content = path.read_bytes()
    for name in ("b.dcm", "IM2"):
        (tmp_path / name).write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])
        np.testing.assert_array_equal(read_natural_image(tmp_path / name), FRAME)


def test_content_without_a_name_is_read(tmp_path):
    np.testing.assert_array_equal(read_natural_image(write_picture(tmp_path / "a", FRAME).read_bytes()), FRAME)


def test_classes_are_those_of_dicom_s_own_dictionary():
    for uid, name in PICTURE_CLASSES.items():
        assert pydicom.uid.UID(uid).name == f"{name} Storage"
