import struct
import zlib
from io import FileIO

import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image

from condseg_monai.data.images import image_reader
from condseg_monai.data.images.image_reader import (
    IMAGE_EXTENSIONS,
    UnreadableImageError,
    read_natural_image,
)
from condseg_monai.data.images.monai_readers import NaturalImageReader
from tests.fuzz.fuzz_files import png_chunk

HEIGHT, WIDTH = 5, 8


@pytest.fixture
def colours() -> np.ndarray:
    """A (5, 8, 3) picture without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def save(path, image, **kwargs):
    image.save(path, **kwargs)
    return path


class TestColourKinds:
    @pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a b.PNG", "b\u00ebl\u4e2d.png"])
    def test_lossless_rgb_is_unchanged(self, tmp_path, colours, name):
        path = save(tmp_path / name, Image.fromarray(colours))
        np.testing.assert_array_equal(read_natural_image(path), colours)

    def test_content_counts_and_not_the_extension(self, tmp_path, colours):
        path = save(tmp_path / "really_a_bitmap.jpg", Image.fromarray(colours), format="BMP")
        np.testing.assert_array_equal(read_natural_image(path), colours)

    def test_grey_is_repeated_for_rgb_and_kept_for_l(self, tmp_path, colours):
        grey = colours[..., 0]
        path = save(tmp_path / "a.png", Image.fromarray(grey))
        np.testing.assert_array_equal(read_natural_image(path, "L"), grey)
        np.testing.assert_array_equal(read_natural_image(path, "RGB"), np.stack([grey] * 3, axis=-1))

    def test_gray_of_colours_is_their_luma(self, tmp_path, colours):
        path = save(tmp_path / "a.png", Image.fromarray(colours))
        expected = np.asarray(Image.fromarray(colours).convert("L"))
        np.testing.assert_allclose(read_natural_image(path, "gray"), expected, atol=1)
        path = save(tmp_path / "b.png", Image.fromarray(colours[..., 0]))
        np.testing.assert_array_equal(read_natural_image(path, "gray"), colours[..., 0])

    def test_one_bit_becomes_0_and_255(self, tmp_path):
        bits = np.array([[0, 1, 1], [1, 0, 0]], dtype=bool)
        for name in ("a.png", "a.tif"):
            path = save(tmp_path / name, Image.fromarray(bits))
            np.testing.assert_array_equal(read_natural_image(path, "L"), bits * np.uint8(255))

    def test_palette_gives_colours_and_not_indices(self, tmp_path):
        image = Image.new("P", (3, 1))
        image.putpalette([0, 0, 0, 128, 0, 0, 10, 20, 30])
        image.putdata([0, 1, 2])
        path = save(tmp_path / "a.png", image)
        np.testing.assert_array_equal(read_natural_image(path), [[[0, 0, 0], [128, 0, 0], [10, 20, 30]]])
        np.testing.assert_array_equal(read_natural_image(path, "L"), [[0, 128, 30]])

    def test_cmyk_becomes_the_colour_it_stands_for(self, tmp_path):
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
        for name in ("a.jpg", "a.tif"):
            pixels = read_natural_image(save(tmp_path / name, image)).astype(int)
            assert np.abs(pixels - [255, 0, 0]).max() <= 2

    def test_ycbcr_tiff_becomes_rgb(self, tmp_path):
        image = Image.new("RGB", (16, 16), (250, 20, 30)).convert("YCbCr")
        pixels = read_natural_image(save(tmp_path / "a.tif", image)).astype(int)
        assert np.abs(pixels - [250, 20, 30]).max() <= 2

    @pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
    def test_mask_in_any_pure_colour_counts_as_255(self, tmp_path, colour):
        mask = np.zeros((4, 6, 3), dtype=np.uint8)
        mask[1:3, 2:] = colour
        path = save(tmp_path / "a.png", Image.fromarray(mask))
        np.testing.assert_array_equal(read_natural_image(path, "L"), mask.any(axis=-1) * np.uint8(255))


class TestAlpha:
    def test_rgba_is_composited_onto_black(self, tmp_path):
        rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], dtype=np.uint8)
        for name in ("a.png", "a.tif"):
            path = save(tmp_path / name, Image.fromarray(rgba))
            np.testing.assert_array_equal(read_natural_image(path), [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]])

    def test_la_is_composited_onto_black(self, tmp_path):
        la = np.array([[[200, 255], [200, 0], [200, 51]]], dtype=np.uint8)
        path = save(tmp_path / "a.png", Image.fromarray(la))
        np.testing.assert_array_equal(read_natural_image(path, "L"), [[200, 0, 40]])

    def test_transparent_palette_entry_is_black(self, tmp_path):
        image = Image.new("P", (2, 1))
        image.putpalette([255, 255, 255, 10, 20, 30])
        image.putdata([0, 1])
        path = save(tmp_path / "a.png", image, transparency=0)
        np.testing.assert_array_equal(read_natural_image(path), [[[0, 0, 0], [10, 20, 30]]])

    @pytest.mark.parametrize("white", [(255, 255, 255), 255])
    def test_transparent_colour_is_black(self, tmp_path, white):
        image = Image.new("RGB" if isinstance(white, tuple) else "L", (2, 1), white)
        image.putpixel((1, 0), (9, 9, 9) if isinstance(white, tuple) else 9)
        path = save(tmp_path / "a.png", image, transparency=white)
        np.testing.assert_array_equal(read_natural_image(path), [[[0, 0, 0], [9, 9, 9]]])

    def test_large_pictures_are_converted_some_rows_at_a_time(self, tmp_path, monkeypatch):
        """A small file may hold a large picture, and each conversion of Pillow is a copy of it."""
        areas = []
        crop = Image.Image.crop

        def noting(image, box):
            areas.append((box[2] - box[0]) * (box[3] - box[1]))
            return crop(image, box)

        rgba = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
        path = save(tmp_path / "a.png", Image.fromarray(rgba))
        at_once = read_natural_image(path)
        monkeypatch.setattr("condseg_monai.data.images.image_reader._PIXELS_AT_A_TIME", 2 * WIDTH)
        monkeypatch.setattr(Image.Image, "crop", noting)
        np.testing.assert_array_equal(read_natural_image(path), at_once)
        assert areas == [2 * WIDTH, 2 * WIDTH, WIDTH]


class TestSixteenBit:
    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_full_range_is_scaled_and_not_clipped(self, tmp_path, name):
        values = np.array([[0, 1, 300], [257, 32896, 65535]], dtype=np.uint16)
        array = read_natural_image(save(tmp_path / name, Image.fromarray(values)), "L")
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, values / 257.0, rtol=1e-6)
        assert array.max() == 255.0

    def test_instance_ids_stay_distinct_and_above_zero(self, tmp_path):
        ids = np.arange(600, dtype=np.uint16).reshape(20, 30)
        array = read_natural_image(save(tmp_path / "a.png", Image.fromarray(ids)), "L")
        assert len(np.unique(array)) == 600
        assert (array > 0).sum() == 599

    def test_transparent_value_is_black(self, tmp_path):
        values = np.array([[700, 65535]], dtype=np.uint16)
        path = save(tmp_path / "a.png", Image.fromarray(values), transparency=65535)
        np.testing.assert_allclose(read_natural_image(path, "L"), [[700 / 257, 0]], rtol=1e-6)

    def test_twelve_bit_tiff_is_scaled_from_4095(self, tmp_path):
        path = tmp_path / "a.tif"
        path.write_bytes(grey_tiff(bits=12, photometric=1, data=bytes([0xFF, 0xF8, 0x00])))  # 4095, 2048
        np.testing.assert_allclose(read_natural_image(path, "L"), [[255.0, 2048 / 4095 * 255]], rtol=1e-6)

    def test_white_is_zero_tiff_is_inverted(self, tmp_path):
        path = tmp_path / "a.tif"
        path.write_bytes(grey_tiff(bits=16, photometric=0, data=struct.pack("<2H", 0, 65535)))
        np.testing.assert_array_equal(read_natural_image(path, "L"), [[255.0, 0.0]])

    def test_sixteen_bit_colour_keeps_its_range(self, tmp_path):
        row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 257, 514, 65534)
        header = png_chunk(b"IHDR", struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0))
        data = png_chunk(b"IDAT", zlib.compress(row)) + png_chunk(b"IEND", b"")
        path = tmp_path / "a.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
        np.testing.assert_array_equal(read_natural_image(path), [[[255, 0, 128], [1, 2, 255]]])


def grey_tiff(bits: int, photometric: int, data: bytes) -> bytes:
    """A little-endian TIFF of one row of two grey pixels."""
    entries = [
        (256, 3, 2),  # width
        (257, 3, 1),  # height
        (258, 3, bits),
        (259, 3, 1),  # no compression
        (262, 3, photometric),
        (273, 4, 8),  # offset of the pixels: right after the header
        (277, 3, 1),  # samples per pixel
        (278, 3, 1),  # rows per strip
        (279, 4, len(data)),
    ]
    padded = data + b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory + struct.pack("<I", 0)


class TestOrientation:
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied_once(self, tmp_path, colours, orientation, name):
        """Orientations 2 to 8 say how the stored rows and columns lie; undo each by hand and compare."""
        stored = {
            1: colours,
            2: colours[:, ::-1],
            3: colours[::-1, ::-1],
            4: colours[::-1],
            5: colours.transpose(1, 0, 2),
            6: np.rot90(colours, 1),
            7: np.rot90(colours, 2).transpose(1, 0, 2),
            8: np.rot90(colours, -1),
        }[orientation]
        exif = Image.Exif()
        exif[274] = orientation
        kwargs = {"lossless": True} if name.endswith("webp") else {}
        path = save(tmp_path / name, Image.fromarray(np.ascontiguousarray(stored)), exif=exif, **kwargs)
        np.testing.assert_array_equal(read_natural_image(path), colours)

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_grey_of_either_depth_is_turned_too(self, tmp_path, name, dtype):
        scale = 257 if dtype == np.uint16 else 1
        values = np.arange(6, dtype=dtype).reshape(2, 3) * dtype(scale)
        exif = Image.Exif()
        exif[274] = 6
        path = save(tmp_path / name, Image.fromarray(values), exif=exif)
        np.testing.assert_array_equal(read_natural_image(path, "L"), np.rot90(values, -1) / scale)

    def test_multi_picture_jpeg_gives_its_first_picture(self, tmp_path):
        first, second = Image.new("RGB", (16, 8), "white"), Image.new("RGB", (16, 8), "black")
        first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
        array = read_natural_image(tmp_path / "a.jpg")
        assert array.shape == (8, 16, 3) and array.min() > 250


class TestErrors:
    def assert_refused(self, path, words):
        with pytest.raises(UnreadableImageError, match=words) as raised:
            read_natural_image(path)
        assert path.name in str(raised.value)

    def test_missing_file_is_named(self, tmp_path):
        self.assert_refused(tmp_path / "missing.png", "no such file")

    @pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
    def test_non_image_is_named(self, tmp_path, content):
        path = tmp_path / "wrong.png"
        path.write_bytes(content)
        self.assert_refused(path, "cannot read")

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
    def test_truncated_file_is_named(self, tmp_path, name):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = save(tmp_path / name, Image.fromarray(noise))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        self.assert_refused(path, "cannot read")

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_pixels_without_a_known_white_are_refused(self, tmp_path, dtype):
        path = save(tmp_path / "a.tif", Image.fromarray(np.ones((2, 3), dtype=dtype)))
        self.assert_refused(path, "no agreed black and white")

    def test_other_formats_are_refused(self, tmp_path, colours):
        path = save(tmp_path / "a.png", Image.fromarray(colours), format="PPM")
        self.assert_refused(path, "not a BMP, JPEG, PNG, TIFF, WEBP or DICOM file")

    @pytest.mark.parametrize(("side", "size"), [(12_000, "12000x12000"), (60_000, "3600000000 pixels")])
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_decompression_bomb_is_refused_before_decoding(self, tmp_path, side, size):
        header = png_chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0))
        path = tmp_path / "bomb.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(1000))))
        self.assert_refused(path, rf"{size}.* limit .*{Image.MAX_IMAGE_PIXELS}.*scale it down, or cut it into parts")

    def test_damaged_length_asks_for_no_more_than_the_file_has(self, tmp_path, colours):
        path = save(tmp_path / "a.png", Image.fromarray(colours))
        content = bytearray(path.read_bytes())
        content[33:37] = b"\xff\xff\xff\xf0"  # of the pixels
        path.write_bytes(content)
        with image_reader._Stream(FileIO(path)) as stream:
            assert stream.read(2**60) == bytes(content) and stream.read(2**60) == b""
        np.testing.assert_array_equal(read_natural_image(path), colours)  # they are all there

    def test_pixel_limit_is_pillows(self, tmp_path, colours, monkeypatch):
        path = save(tmp_path / "a.png", Image.fromarray(colours))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH)
        assert read_natural_image(path).shape == (HEIGHT, WIDTH, 3)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 2 - 1)
        with pytest.raises(UnreadableImageError, match=r"a\.png"):
            read_natural_image(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert read_natural_image(path).shape == (HEIGHT, WIDTH, 3)

    @pytest.mark.parametrize("call", [lambda: NaturalImageReader("grey"), lambda: read_natural_image("a.png", "grey")])
    def test_unknown_mode_raises(self, call):
        with pytest.raises(ValueError, match="mode must be"):
            call()


class TestReader:
    @pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
    def test_loads_rows_first_with_metadata_of_the_same_size(self, tmp_path, colours, mode, channels):
        exif = Image.Exif()
        exif[274] = 6
        path = save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(np.rot90(colours))), exif=exif)
        data = LoadImage(reader=NaturalImageReader(mode), ensure_channel_first=True)(path)
        expected = np.moveaxis(read_natural_image(path), -1, 0) if mode == "RGB" else colours.max(-1)[None]
        np.testing.assert_array_equal(data.numpy(), expected)
        assert data.shape == (channels, HEIGHT, WIDTH)
        assert tuple(data.meta["spatial_shape"]) == (HEIGHT, WIDTH)
        assert data.meta["filename_or_obj"] == str(path)

    def test_no_other_reader_takes_over_a_refused_file(self, tmp_path):
        """MONAI's PILReader would happily load these 32-bit values, in its own scale."""
        path = save(tmp_path / "a.tif", Image.fromarray(np.ones((2, 3), dtype=np.int32)))
        assert LoadImage(reader="PILReader")(path).shape == (3, 2)
        with pytest.raises(UnreadableImageError, match=r"a\.tif"):
            LoadImage(reader=NaturalImageReader())(path)

    def test_is_found_by_name_and_leaves_automatic_choice_to_monai(self, tmp_path, colours):
        path = save(tmp_path / "a.png", Image.fromarray(colours[..., 0]))
        assert LoadImage(reader="condseg_monai.NaturalImageReader", mode="L")(path).shape == (HEIGHT, WIDTH)
        assert LoadImage()(path).shape == (WIDTH, HEIGHT)

    @pytest.mark.parametrize("extension", IMAGE_EXTENSIONS)
    def test_suffix_is_recognised_in_any_case(self, extension):
        assert NaturalImageReader().verify_suffix(f"a b{extension.upper()}")
        assert not NaturalImageReader().verify_suffix("a.nii.gz")
