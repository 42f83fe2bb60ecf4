"""DICOM pictures, a frame at a time: endoscopy, dermatoscopy, microscopy, photographs, ultrasound, screenshots."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from condseg_monai.data.dicom_files import is_named_as_dicom, load_pydicom, missing_decoder, read_dicom_header

__all__ = ["PICTURE_CLASSES", "frame_of", "frames_of", "read_dicom_picture"]

PICTURE_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.3.1": "Ultrasound Multi-frame Image",
    "1.2.840.10008.5.1.4.1.1.6.1": "Ultrasound Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.77.1.1": "VL Endoscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.1.1": "Video Endoscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.2": "VL Microscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.2.1": "Video Microscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.3": "VL Slide-Coordinates Microscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.4.1": "Video Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "Ophthalmic Photography 8 Bit Image",
    "1.2.840.10008.5.1.4.1.1.77.1.5.2": "Ophthalmic Photography 16 Bit Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
}
"""SOP classes whose pixels are a picture as it is shown, and their names; all others are refused."""

_HEADER = ["NumberOfFrames", "Rows", "SOPClassUID"]
_FRAME = re.compile(r"(.+)#([1-9]\d*)")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SAMPLES = {**dict.fromkeys((*_GREY, "PALETTE COLOR"), 1), **dict.fromkeys(_COLOURS, 3)}


def frame_of(image: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Take apart ``clip.dcm#12``, the 12th frame of a file: the file and the number; None of any other name.

    Example:
        >>> frame_of("clip.dcm#12")[1]
        12
    """
    match = _FRAME.fullmatch(os.fspath(image))
    if match is None or Path(image).exists():
        return Path(image), None
    return Path(match[1]), int(match[2])


def frames_of(image: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Frames of a DICOM picture, each with the name that its outputs get, in the order of the file.

    Of one frame, ``("IM7.dcm", "IM7")``; of several, ``("clip.dcm#1", "clip_01")`` and so on, with as many digits as
    their number has. ``clip.dcm#12`` gives that frame. Empty for a file without pixels, such as a report.

    Raises:
        DicomError: if the file cannot be read.
        ValueError: if it is no picture, a CT slice for one, or has no such frame.
        ImportError: if pydicom is not installed; the message names the extra.
    """
    file, chosen = frame_of(image)
    header = read_dicom_header(file, _HEADER)
    if header.get("Rows") is None and header.get("SOPClassUID"):
        return []
    number = _check_picture(header, f"{file}: it", chosen)
    name = file.stem if is_named_as_dicom(file) else file.name  # a UID as a name has no extension
    if number == 1:
        return [(str(file), name)]
    digits = len(str(number))
    numbers = range(1, number + 1) if chosen is None else [chosen]
    return [(f"{file}#{i}", f"{name}_{i:0{digits}d}") for i in numbers]


def read_dicom_picture(
    source: Path | bytes, frame: int | None = None, check_size: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Read one frame: ``(H, W)`` grey or ``(H, W, 3)``, ``uint8`` or, of more than 8 bits, ``float32`` in [0, 255].

    Decoding, planes, YCbCr, packed bits and palettes are pydicom's. Grey gets the first window of the file, if it has
    one; MONOCHROME1 is inverted. White is the largest value that the stored bits, or the entries of a palette, have.

    Args:
        source: a path, or the content of a file.
        frame: from 1 on; None for a file of one frame.
        check_size: called with width and height before pixels are decoded, to refuse them.

    Raises:
        ValueError: if it is no picture, has no such frame or several and ``frame`` is None, cannot be decoded for want
            of a plugin, which the message names, or has values with no known white.
        ImportError: if pydicom is not installed; the message names the extra.
    """
    pydicom = load_pydicom()
    dataset = read_dicom_header(source)
    number = _check_picture(dataset, "it", frame)
    if frame is None and number > 1:
        raise ValueError(f"it has {number} frames: name one of them, FILE#1 to FILE#{number}")
    if check_size is not None:
        check_size(dataset.Columns, dataset.Rows)
    pixels = _decode(source, dataset, (frame or 1) - 1)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = pydicom.pixels.apply_color_lut(pixels, dataset)[..., :3]
        return _scaled(pixels, 2 ** (8 * pixels.dtype.itemsize) - 1)
    if dataset.PhotometricInterpretation not in _GREY:
        return _scaled(pixels, 2**dataset.BitsStored - 1)
    bits = dataset.BitsStored
    if dataset.get("VOILUTSequence"):
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
    white = 2**bits - 1
    pixels = pydicom.pixels.apply_voi_lut(pixels, dataset)
    return _scaled(white - pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels, white)


def _check_picture(header: Any, words: str, frame: int | None) -> int:
    """The number of frames; a ValueError that begins with ``words`` if it is no picture or has no such frame."""
    uid = str(header.get("SOPClassUID") or "")
    if uid not in PICTURE_CLASSES:
        name = load_pydicom().uid.UID(uid).name.removesuffix(" Storage") if uid else "of no SOP class"
        raise ValueError(
            f"{words} is {name}, and no endoscopy, dermoscopy, microscopy, photograph, ultrasound or secondary capture"
            + ("; a model of CT reads the folder of a series" if name == "CT Image" else "")
        )
    number = int(header.get("NumberOfFrames") or 1)
    if not max(1, frame or 1) <= number:
        raise ValueError(f"{words} has {number} frame(s), and no frame {frame or 1}")
    return number


def _decode(source: Path | bytes, dataset: Any, index: int) -> np.ndarray:
    """Stored values of a frame, ``(H, W)`` or ``(H, W, 3)`` RGB."""
    pydicom, photometric = load_pydicom(), dataset.PhotometricInterpretation
    if dataset.SamplesPerPixel != _SAMPLES.get(photometric):
        known = ", ".join(_SAMPLES)
        raise ValueError(f"it is {photometric} of {dataset.SamplesPerPixel} samples a pixel; there are {known}")
    if dataset.HighBit != dataset.BitsStored - 1:
        raise ValueError(f"it has HighBit {dataset.HighBit} of {dataset.BitsStored} bits, so that values are shifted")
    if dataset.PixelRepresentation != 0 or (
        photometric in _GREY and (dataset.get("RescaleSlope") or 1, dataset.get("RescaleIntercept") or 0) != (1, 0)
    ):
        raise ValueError("its values are signed or have a scale of their own, so that none is known to be white")
    options = {}
    if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble has none
        explicit, implicit = pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian
        options["transfer_syntax_uid"] = implicit if dataset.original_encoding[0] else explicit
    elif needed := missing_decoder(dataset.file_meta.TransferSyntaxUID):
        raise ValueError(needed)
    # from the file, so that of a long clip one frame is in memory
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        return np.asarray(pydicom.pixels.pixel_array(file, index=index, **options))
    except Exception as error:  # the decoders raise many kinds
        raise ValueError(f"its pixels cannot be decoded, damaged or cut short: {error}") from error


def _scaled(pixels: np.ndarray, white: int) -> np.ndarray:
    """Bring [0, white] to [0, 255]: 8-bit integers stay what they are."""
    if white == 255:
        return np.rint(pixels).astype(np.uint8)
    return pixels.astype(np.float32) * np.float32(255 / white)
