"""Reading of images: every common kind of photograph and mask as RGB or grey values from 0 to 255, or an error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BufferedReader, BytesIO, FileIO
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from condseg_monai.data.dicom_files import is_dicom, is_named_as_dicom
from condseg_monai.data.images.dicom_picture import frame_of, read_dicom_picture

__all__ = ["read_natural_image"]

IMAGE_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_CONVERTIBLE = ("1", "CMYK", "HSV", "L", "P", "RGB", "RGBX", "YCbCr", *_WITH_ALPHA)
_NUMBERS = ("1", "L", "P", "I", *_SIXTEEN_BIT)
_LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)
_PIXELS_AT_A_TIME = 1 << 20
_IF_TOO_LARGE = (
    "scale it down, or cut it into parts; in Python, condseg_monai.Segmenter with tile_size reads it, if it can be "
    "trusted, after PIL.Image.MAX_IMAGE_PIXELS = None"
)


class UnreadableImageError(ValueError):
    """A file that is not an image, is damaged, or holds pixels whose meaning is not known; the message names it."""


def read_natural_image(path: str | PathLike[str] | bytes, mode: str = "RGB") -> np.ndarray:
    """Read a BMP, JPEG, PNG, TIFF, WebP or DICOM file, recognised by content: ``(H, W, 3)`` or ``(H, W)`` in [0, 255].

    ``bytes`` are the content of a file, not its name. ``clip.dcm#12`` is the 12th frame of a DICOM file.

    - EXIF orientation is applied. Of a file with several frames or pages the first is read; of DICOM it must be named.
    - Alpha, a transparent palette entry and a transparent colour are composited onto black.
    - Palettes, CMYK, YCbCr and 1-bit files become colours; a palette mask gives colours and not indices.
    - 16-bit (and 12-bit TIFF) grey is scaled from 65535 (4095) to 255, as ``float32``; all others are ``uint8``.
    - ``mode="L"`` of a coloured file is the brightest of the three channels, so that a pure red mask counts as 255;
      ``mode="gray"``, for networks of one channel, is its luma, 0.299 R + 0.587 G + 0.114 B, as ``float32``.
    - 32-bit integers and floats are refused: nothing in the file says which value is white.
    - DICOM pictures are those of :func:`~condseg_monai.data.images.dicom_picture.read_dicom_picture`.

    Raises:
        UnreadableImageError: if the file is missing, damaged, larger than ``PIL.Image.MAX_IMAGE_PIXELS``, or not listed
            here.
        ValueError: if ``mode`` is not ``"RGB"``, ``"gray"`` or ``"L"``.
        ImportError: if the file is DICOM and pydicom is not installed; the message names the extra.
    """
    check_mode(mode)
    return pixels_in_mode(read_pixels(path), mode)


def read_pixels(path: str | PathLike[str] | bytes, numbers: bool = False) -> np.ndarray:
    """Read a file as :func:`read_natural_image` does, grey as ``(H, W)`` and colours as ``(H, W, 3)``.

    With ``numbers``, of a mask of class numbers, palette indices stay indices and integers are not scaled: 1-bit files
    are 0 and 1, 16-bit and 32-bit ones have the values that are stored.
    """
    try:
        source, frame = (path, None) if isinstance(path, bytes) else frame_of(path)
        if frame is not None or _is_dicom(source):
            return read_dicom_picture(source, frame, _check_size)
        # From a stream, because Pillow maps a TIFF given by name into memory and then scrambles turned grey ones.
        file = BytesIO(source) if isinstance(source, bytes) else _Stream(FileIO(source))
        with file as stream, Image.open(stream, formats=_FORMATS) as image:
            _check_size(image.width, image.height)
            image.load()
            if numbers and image.mode in _NUMBERS:
                return np.asarray(ImageOps.exif_transpose(image))
            return image_pixels(image)
    except ImportError:  # pydicom's extra
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds, from struct.error to SyntaxError
        name = "the image" if isinstance(path, bytes) else fspath(path)
        raise UnreadableImageError(f"cannot read {name}: {_reason(error)}") from error


class _Stream(BufferedReader):
    """A file of which no more is asked than it has: a damaged length would make room for gigabytes first."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > 0:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def check_mode(mode: str) -> None:
    """Raise ``ValueError`` for a mode that :func:`read_natural_image` does not have."""
    if mode not in ("RGB", "gray", "L"):
        raise ValueError(f'mode must be "RGB", "gray" or "L", got {mode!r}')


def _is_dicom(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return source[128:132] == b"DICM"
    return is_named_as_dicom(source) or is_dicom(source)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"it has {width}x{height} pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ValueError(f"{width}x{height} pixels are more than the limit of {limit}; {_IF_TOO_LARGE}")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not a {', '.join(_FORMATS)} or DICOM file, or its header is damaged"
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own, at twice the limit
        return f"{error} The limit here is {Image.MAX_IMAGE_PIXELS} pixels; {_IF_TOO_LARGE}"
    return "no such file" if isinstance(error, FileNotFoundError) else f"{error}" or type(error).__name__


def pixels_in_mode(array: np.ndarray, mode: str) -> np.ndarray:
    """Bring grey ``(H, W)`` or colours ``(H, W, 3)`` to a mode; see :func:`read_natural_image`."""
    check_mode(mode)
    if mode == "RGB":
        return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    if array.ndim == 2:
        return array
    return array.max(axis=2) if mode == "L" else array @ _LUMA


def image_pixels(image: Image.Image, tags: Mapping[int, Any] | None = None) -> np.ndarray:
    """Convert a PIL image, which is turned as its EXIF says: ``(H, W)`` grey or ``(H, W, 3)``; a ValueError if it
    cannot. ``tags`` are those of the TIFF that the image was copied from."""
    if image.mode in _SIXTEEN_BIT:
        return _sixteen_bit_to_array(image, tags or getattr(image, "tag_v2", {}))
    if image.mode not in _CONVERTIBLE:
        raise ValueError(
            f"pixels of kind {image.mode!r} have no agreed black and white; save it as RGB or as 8-bit or 16-bit grey"
        )
    ImageOps.exif_transpose(image, in_place=True)
    transparent = image.mode in _WITH_ALPHA or "transparency" in image.info
    mode = "L" if image.mode in ("1", "L") and not transparent else "RGB"
    array = np.empty((image.height, image.width) if mode == "L" else (image.height, image.width, 3), dtype=np.uint8)
    # Some rows at a time: a small file may hold hundreds of megabytes of picture; each conversion is a copy of it.
    step = max(1, _PIXELS_AT_A_TIME // image.width)
    for top in range(0, image.height, step):
        rows = image.crop((0, top, image.width, min(top + step, image.height)))
        array[top : top + step] = np.asarray(_on_black(rows) if transparent else rows.convert(mode))
    return array


def _on_black(image: Image.Image) -> Image.Image:
    colour = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour).convert("RGB")


def _sixteen_bit_to_array(image: Image.Image, tags: Mapping[int, Any]) -> np.ndarray:
    white = float(2 ** tags.get(258, (16,))[0] - 1)  # BitsPerSample: 12 or 16
    ImageOps.exif_transpose(image, in_place=True)
    values = np.asarray(image).astype(np.float32)
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero; Pillow inverts the 8-bit kinds only
        np.subtract(white, values, out=values)
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = 0.0
    values /= np.float32(white)
    return np.multiply(values, np.float32(255.0), out=values)
