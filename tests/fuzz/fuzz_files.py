"""Damaged, mislabelled and malicious image files, made from valid ones of every kind by a seed."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

LARGEST_SIDE = 9400  # 88 million pixels, just below Pillow's limit
EXTENSIONS = (".png", ".jpg", ".JPEG", ".bmp", ".tif", ".TIFF", ".webp")
_SIZE = (37, 29)


class FuzzFile(NamedTuple):
    """One file.

    Attributes:
        name: with a space, a letter outside ASCII and an extension that may be wrong.
        kind: what was done to it.
        content: its bytes.
    """

    name: str
    kind: str
    content: bytes


def make_file(seed: int, index: int, largest_side: int = LARGEST_SIDE) -> FuzzFile:
    """Make one file.

    Args:
        seed: of all.
        index: of this one.
        largest_side: of pictures that are complete, in pixels.
    """
    rng = np.random.default_rng((seed, index))
    kind = str(rng.choice(list(_KINDS), p=[share for share, _ in _KINDS.values()]))
    content = _KINDS[kind][1](rng, largest_side)
    return FuzzFile(f"{index:05d} \u00e9{rng.choice(EXTENSIONS)}", kind, content)


@cache
def sound_files() -> dict[str, bytes]:
    """Small sound files of every format and kind of pixel that is read, by a name that says which."""
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(_SIZE[1]), np.arange(_SIZE[0]))
    colour = np.clip(smooth[..., None] * [2, 3, 1] + rng.integers(0, 40, (*smooth.shape, 3)), 0, 255).astype(np.uint8)
    rgb = Image.fromarray(colour)
    grey16 = Image.fromarray(colour[..., 0].astype(np.uint16) * 257)
    palette = rgb.quantize(16)
    exif = Image.Exif()
    exif[274] = 6
    kinds: dict[str, tuple[Image.Image, str, dict]] = {
        "png": (rgb, "PNG", {}),
        "png alpha": (rgb.convert("RGBA"), "PNG", {}),
        "png palette": (palette, "PNG", {"transparency": 3}),
        "png grey": (rgb.convert("L"), "PNG", {"exif": exif}),
        "png 1 bit": (rgb.convert("1"), "PNG", {}),
        "png 16 bit": (grey16, "PNG", {}),
        "jpeg": (rgb, "JPEG", {}),
        "jpeg turned": (rgb, "JPEG", {"exif": exif}),
        "jpeg progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "jpeg grey": (rgb.convert("L"), "JPEG", {}),
        "mpo": (rgb, "MPO", {"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_90)]}),
        "bmp": (rgb, "BMP", {}),
        "bmp palette": (palette, "BMP", {}),
        "tiff": (rgb, "TIFF", {}),
        "tiff 16 bit": (grey16, "TIFF", {"exif": exif}),
        "tiff deflate": (rgb.convert("RGBA"), "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff lzw": (palette, "TIFF", {"compression": "tiff_lzw"}),
        "tiff jpeg": (rgb, "TIFF", {"compression": "jpeg"}),
        "tiff fax": (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        "tiff pages": (rgb, "TIFF", {"save_all": True, "append_images": [rgb.convert("L"), palette]}),
        "webp": (rgb, "WEBP", {"exif": exif}),
        "webp lossless": (rgb.convert("RGBA"), "WEBP", {"lossless": True}),
        "webp frames": (rgb, "WEBP", {"save_all": True, "append_images": [rgb.convert("L")]}),
    }
    return {name: _encoded(image, kind, **kwargs) for name, (image, kind, kwargs) in kinds.items()}


def _encoded(image: Image.Image, kind: str, **kwargs: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **kwargs)
    return stream.getvalue()


def _any(rng: Generator) -> bytes:
    return list(sound_files().values())[rng.integers(len(sound_files()))]


def _truncated(rng: Generator, _: int) -> bytes:
    content = _any(rng)
    return content[: rng.integers(1, len(content))]


def _zero_byte(rng: Generator, _: int) -> bytes:
    """Nothing, zeros, or a file that was being written when the disk filled up."""
    content = _any(rng)
    start = int(rng.integers(0, len(content)))
    return (b"", bytes(int(rng.integers(1, 5000))), content[:start] + bytes(len(content) - start))[rng.integers(3)]


def _wrong_extension(rng: Generator, _: int) -> bytes:
    return _any(rng) if rng.random() < 0.5 else list(_others().values())[rng.integers(len(_others()))]


@cache
def _others() -> dict[str, bytes]:
    image = Image.new("RGB", _SIZE, (200, 40, 40))
    made = {kind: _encoded(image, kind) for kind in ("GIF", "PPM", "TGA", "ICO", "PDF", "EPS", "PCX", "JPEG2000")}
    array = io.BytesIO()
    np.save(array, np.zeros((8, 8)))
    return made | {
        "numpy": array.getvalue(),
        "nifti": gzip.compress(struct.pack("<i", 348) + bytes(400)),
        "zip": b"PK\x03\x04" + bytes(40),
        "html": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "dicom": bytes(128) + b"DICM" + bytes(64),
        "text": "\ufeffcju0qkwl35piu0993l0dewei2\n".encode("utf-16"),
    }


def _bit_flips(rng: Generator, _: int) -> bytes:
    """One to thirty bytes changed, half of the time near the beginning, where the headers are."""
    content = bytearray(_any(rng))
    reach = min(len(content), 200) if rng.random() < 0.5 else len(content)
    for position in rng.integers(0, reach, rng.integers(1, 31)):
        content[position] = rng.integers(256) if rng.random() < 0.3 else content[position] ^ (1 << rng.integers(8))
    return bytes(content)


def _spliced(rng: Generator, _: int) -> bytes:
    """The head of one file and the tail of another, or a piece that is there twice or not at all."""
    one, two = _any(rng), _any(rng)
    a, b = sorted(rng.integers(0, len(one), 2))
    return (one[:a] + two[rng.integers(len(two)) :], one[:b] + one[a:], one[:a] + one[b:])[rng.integers(3)]


def _huge_header(rng: Generator, _: int) -> bytes:
    """A small file that claims to be very large in one or both directions."""
    sides = [int(2 ** rng.uniform(13, 31)), int(2 ** rng.uniform(0, 31))]
    width, height = sides if rng.random() < 0.5 else sides[::-1]
    name = list(sound_files())[rng.integers(len(sound_files()))]
    content = bytearray(sound_files()[name])
    if name.startswith("png"):
        content[16:24] = struct.pack(">2I", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    elif name.startswith("bmp"):
        content[18:26] = struct.pack("<2i", width, height * int(rng.choice([-1, 1])))
    elif name.startswith("tiff"):
        _patch_tiff(content, {256: width, 257: height})
    elif name.startswith("webp"):
        content[24:30] = struct.pack("<2I", width, height)[:6]
    else:
        frame = next(i for i in range(len(content)) if content[i] == 0xFF and content[i + 1] in (0xC0, 0xC2))
        content[frame + 5 : frame + 9] = struct.pack(">2H", height % 65536, width % 65536)
    return bytes(content)


def _patch_tiff(content: bytearray, values: dict[int, int]) -> None:
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", content, entry)
        if tag in values:
            struct.pack_into("<HII", content, entry + 2, 4, 1, values[tag])


def _bomb(rng: Generator, largest_side: int) -> bytes:
    """A small file that decodes to a large picture, or that carries something large beside it."""
    if rng.random() < 0.3:
        return _stuffed_png(bytes(rng.choice([b"iCCP", b"zTXt", b"iTXt"])), 100)
    if rng.random() < 0.2:
        return _endless_tiff(int(rng.integers(1, 400)))
    sides = (1500, min(3000, largest_side), largest_side, 20_000, 60_000)
    side = sides[rng.choice(5, p=[0.4, 0.3, 0.1, 0.1, 0.1])]
    bits, colour = [(1, 0), (8, 0), (8, 2), (8, 6), (16, 0), (8, 3)][rng.integers(6)]
    return _flat_png(side, bits, colour)


@cache
def _flat_png(side: int, bits: int, colour: int) -> bytes:
    """A square of zeros. Above the limit of pixels the data end early, for nobody should look at them."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    row = bytes(1 + (side * bits * channels + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side if side <= LARGEST_SIDE else 100)) + packer.flush()
    palette = png_chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    return _png(side, side, bits, colour, palette + png_chunk(b"IDAT", data))


@cache
def _stuffed_png(kind: bytes, size_mib: int) -> bytes:
    packer = zlib.compressobj(9)
    stuffing = b"".join(packer.compress(bytes(2**20)) for _ in range(size_mib)) + packer.flush()
    head = {b"iCCP": b"profile\0\0", b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0"}[kind]
    return _png(4, 4, 8, 0, png_chunk(kind, head + stuffing) + png_chunk(b"IDAT", zlib.compress(bytes(20))))


def _endless_tiff(pages: int) -> bytes:
    """Many directories, of which the last points to the first."""
    content = bytearray(sound_files()["tiff"])
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    directory = bytes(content[first : first + 2 + 12 * count])
    previous = first + len(directory)
    for _ in range(pages):
        struct.pack_into("<I", content, previous, len(content))
        content += directory + bytes(4)
        previous = len(content) - 4
    struct.pack_into("<I", content, previous, first)
    return bytes(content)


def _png(width: int, height: int, bits: int, colour: int, chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_KINDS: dict[str, tuple[float, Callable[[Generator, int], bytes]]] = {
    "truncated": (0.2, _truncated),
    "zero-byte": (0.05, _zero_byte),
    "wrong extension": (0.15, _wrong_extension),
    "huge header": (0.15, _huge_header),
    "decompression bomb": (0.05, _bomb),
    "bit flips": (0.3, _bit_flips),
    "spliced": (0.1, _spliced),
}
