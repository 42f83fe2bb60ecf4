"""DICOM files: recognise them, read their headers, and say what decodes them."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any

__all__ = ["DicomError", "is_dicom", "is_named_as_dicom", "load_pydicom", "missing_decoder", "read_dicom_header"]

_DIRECTORY = re.compile(rb"1\.2\.840\.10008\.1\.3\.10(?![.\d])")  # a DICOMDIR: a list of files, no image
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # a whole file in zlib, of which pydicom unpacks gigabytes to read its header
_START_BYTES = 4096
_NAMED_AS_DICOM = (".dcm", ".dicom", ".ima")


class DicomError(ValueError):
    """A file that is named as DICOM or begins as DICOM and cannot be read; the message names it."""


def load_pydicom() -> Any:
    """Import pydicom when the first DICOM file is met; an ImportError names the extra if it is not installed."""
    try:
        import pydicom.pixels
    except ImportError as error:
        raise ImportError('DICOM needs pydicom: pip install "condseg_monai[dicom]"') from error
    return pydicom


def is_named_as_dicom(path: Path) -> bool:
    """Whether a file has an extension of DICOM, so that it should be one."""
    return path.suffix.lower() in _NAMED_AS_DICOM and not path.name.startswith(".")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, whatever it is called and with or without preamble; a DICOMDIR is none."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_START_BYTES)
    except OSError:
        return False  # whoever reads the files of a folder names it
    if start[128:132] == b"DICM":
        return _DIRECTORY.search(start) is None
    if _DEFLATED in start:
        return True  # reading its header names it
    if start[:2] not in (b"\x02\x00", b"\x08\x00"):  # a file without preamble starts with a tag of these groups
        return False
    try:
        return bool(load_pydicom().dcmread(path, force=True, specific_tags=["SOPClassUID"]).get("SOPClassUID"))
    except Exception:
        return False


def read_dicom_header(source: Path | bytes, tags: list[str] | None = None) -> Any:
    """All but the pixels of a DICOM file with or without preamble, by its path or content.

    Raises:
        DicomError: if it is damaged or deflated.
        ImportError: if pydicom is not installed; the message names the extra.
    """
    pydicom = load_pydicom()
    try:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            if _DEFLATED in stream.read(_START_BYTES):
                raise ValueError("it is deflated; save it with explicit VR little endian")
            stream.seek(0)
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=tags, force=True)
        for _ in dataset:  # values are made when they are asked for, and a damaged one raises then
            pass
        return dataset
    except Exception as error:  # pydicom lets many kinds of exception out of a damaged file
        name = "the file" if isinstance(source, bytes) else source
        raise DicomError(f"{name} is not a DICOM file that can be read: {error}") from error


def missing_decoder(syntax: Any) -> str:
    """What is to be installed, or done, before pixels of a transfer syntax can be decoded; empty if nothing is."""
    if not syntax.is_compressed:
        return ""
    try:
        decoder = load_pydicom().pixels.get_decoder(syntax)
    except NotImplementedError:
        return f"it is compressed ({syntax.name}), which pydicom does not decode: save it uncompressed, or as JPEG"
    if decoder.is_available:
        return ""
    plugins = "; or ".join(decoder.missing_dependencies)
    return f'it is compressed ({syntax.name}), which needs a decoder: pip install "condseg_monai[dicom]" ({plugins})'
