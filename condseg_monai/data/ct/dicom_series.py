"""DICOM series: read the slices of a CT, sorted by position."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import

from condseg_monai.data.ct.volume import Volume, VolumeError, check_unpacked
from condseg_monai.data.dicom_files import (
    DicomError,
    is_dicom,
    is_named_as_dicom,
    load_pydicom,
    read_dicom_header,
)
from condseg_monai.data.lists.pairing import is_dangling, some

__all__ = ["list_dicom_files", "read_dicom_series"]

pydicom, _ = optional_import("pydicom")

_LOG = logging.getLogger(__name__)
_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
# What all slices of a volume share: words for errors, and by how much numbers may differ.
_SAME: dict[str, tuple[str, float]] = {
    "FrameOfReferenceUID": ("frames of reference", 0),
    "Rows": ("heights", 0),
    "Columns": ("widths", 0),
    "PixelRepresentation": ("pixel types", 0),
    "BitsAllocated": ("pixel sizes", 0),
    "ImageType": ("image types", 0),
    "ConvolutionKernel": ("reconstruction kernels", 0),
    "KVP": ("tube voltages", 0),
    "TemporalPositionIdentifier": ("temporal positions", 0),
    "TemporalPositionIndex": ("temporal positions", 0),
    "NominalPercentageOfCardiacPhase": ("cardiac phases", 0),
    "ImageOrientationPatient": ("orientations", 1e-3),
    "PixelSpacing": ("pixel spacings", 1e-4),
}
# Tags that are monotonic along one scan and alternate where two, such as contrast or cardiac phases, are interleaved:
# words for errors, by how much a tag changes from one to the other, and the share of slices where it does. A scan is
# acquired once; it may be reconstructed, triggered and numbered in some other order, but not in turns.
_ONE_WAY: dict[str, tuple[str, float, float]] = {
    "AcquisitionTime": ("acquisition times", 5.0, 0.0),  # seconds
    "ContentTime": ("content times", 5.0, 0.5),
    "TriggerTime": ("trigger times", 50.0, 0.5),  # milliseconds
    "AcquisitionNumber": ("acquisition numbers", 0.5, 0.5),
}
_CLOCKS = ("AcquisitionTime", "ContentTime")
_HEADER = [
    *("AcquisitionDateTime", "BitsStored", "HighBit", "InstanceNumber", "Modality", "NumberOfFrames"),
    *("PhotometricInterpretation", "RescaleIntercept", "RescaleSlope", "RescaleType", "SamplesPerPixel"),
    *("SeriesDescription", "SeriesInstanceUID", *_GEOMETRY, *_SAME, *_ONE_WAY),
]
_LENGTHS = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}  # of values; others have one
_GREY = "MONOCHROME2"
_UNSPECIFIED = "US"  # a RescaleType
_HOUNSFIELD = ("", "HU", _UNSPECIFIED)
_SPACING_TOLERANCE = 0.1  # of the distance of slices; positions are often rounded to a tenth of a millimetre
_PLACE_TOLERANCE = 0.25  # of a voxel, along each axis


def list_dicom_files(folder: str | os.PathLike[str]) -> list[Path]:
    """DICOM files of one folder, whatever they are called and with or without preamble, by name; a DICOMDIR is none."""
    return [path for path in sorted(Path(folder).iterdir()) if path.is_file() and is_dicom(path)]


def read_dicom_series(folder: str | os.PathLike[str]) -> Volume:
    """Read a folder that holds one CT series, a file per slice, sorted along the normal of the image plane.

    The array has columns, rows, slices; stored values, or Hounsfield units where slices differ in slope or intercept.
    The log says which other files the folder has.

    Raises:
        VolumeError: if there is no DICOM file, more than one series, no CT, a slice missing or twice, slices that
            differ in geometry, image type, kernel, voltage or time, no RescaleIntercept, a file that is named as DICOM
            and is none, or pixels that cannot be decoded.
        ImportError: if pydicom is not installed; the message names the extra.
    """
    load_pydicom()
    path = Path(folder)
    files = list_dicom_files(path)
    _check_other_files(path, files)
    if not files:
        raise VolumeError(f"{path} has no DICOM file")
    headers = [_header(file) for file in files]
    _check_series(path, files, headers)
    order, affine = _geometry(path, files, headers)
    files, headers = [files[i] for i in order], [headers[i] for i in order]
    _check_times(path, files, headers)
    slopes, intercepts = (
        np.concatenate([_numbers(header, name) for header in headers]) for name in ("RescaleSlope", "RescaleIntercept")
    )
    one_scale = bool((slopes == slopes[0]).all() and (intercepts == intercepts[0]).all())
    stack: np.ndarray | None = None
    for k, file in enumerate(files):
        pixels = _pixels(file)
        if not one_scale:
            pixels = pixels.astype(np.float32) * np.float32(slopes[k]) + np.float32(intercepts[k])
        if stack is None:
            stack = np.empty((len(files), *pixels.shape), dtype=pixels.dtype)
        stack[k] = pixels
    assert stack is not None
    slope, intercept = (float(slopes[0]), float(intercepts[0])) if one_scale else (1.0, 0.0)
    array = stack.transpose(2, 1, 0)
    return Volume(path, array, affine, slope, intercept, file_shape=array.shape, slice_files=tuple(files))


def _check_other_files(folder: Path, files: Sequence[Path]) -> None:
    known = set(files)
    others = [path for path in sorted(folder.iterdir()) if path not in known and (path.is_file() or is_dangling(path))]
    others = [path for path in others if not path.name.startswith(".") and path.name.upper() != "DICOMDIR"]
    kinds = {_extension(path) for path in files}  # mostly one, or none: a damaged slice is called as the others
    for path in others:
        if is_named_as_dicom(path) or _extension(path) in kinds or not os.access(path, os.R_OK):
            raise VolumeError(
                f"{path} is not a DICOM file that can be read; get it again, or take it out of the folder"
            )
    if others:
        _LOG.warning(f"{len(others)} file(s) of {folder} left out, which are no DICOM: {some(others)}")


def _extension(path: Path) -> str:
    """The extension in lower case; none of names that end in numbers, 1.2.840.7 for one."""
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def _header(file: Path) -> Any:
    try:
        return read_dicom_header(file, _HEADER)
    except DicomError as error:
        raise VolumeError(str(error)) from error


def _pixels(file: Path) -> np.ndarray:
    needed = ""
    try:
        dataset = pydicom.dcmread(file, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble has none
            explicit, implicit = pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian
            dataset.file_meta.TransferSyntaxUID = implicit if dataset.original_encoding[0] else explicit
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not pydicom.pixels.get_decoder(syntax).is_available:
            needed = f' ({syntax.name}), which needs python-gdcm: pip install "condseg_monai[dicom]"'
        return np.asarray(dataset.pixel_array)
    except Exception as error:
        if needed:
            raise VolumeError(f"{file} is compressed{needed}") from error
        raise VolumeError(f"the pixels of {file} cannot be decoded: {error}") from error


def _check_series(folder: Path, files: Sequence[Path], headers: Sequence[Any]) -> None:
    series: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for file, header in zip(files, headers, strict=True):
        series[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    if len(series) > 1:
        lines = "\n".join(
            f"  - {len(members)} files, {_text(members[0][1], 'Modality')}, "
            f"{_text(members[0][1], 'SeriesDescription')}, e.g. {members[0][0].name}"
            for members in series.values()
        )
        raise VolumeError(f"{folder} holds {len(series)} series; give each its own folder:\n{lines}")
    for file, header in zip(files, headers, strict=True):
        _check_slice(file, header)
    if unspecified := [file for file, header in zip(files, headers, strict=True) if _unit(header) == _UNSPECIFIED]:
        _LOG.warning(f"{some(unspecified)} of {folder}: RescaleType {_UNSPECIFIED} is no unit; taken as HU")
    for file, header in zip(files, headers, strict=True):
        for name, (words, tolerance) in _SAME.items():
            values = [_shared(one, name) for one in (headers[0], header)]
            if tolerance:
                alike = np.allclose(_numbers(header, name), _numbers(headers[0], name), rtol=0, atol=tolerance)
            else:
                alike = values[0] == values[1]
            if not alike:
                raise VolumeError(
                    f"{folder} mixes slices of different {words}: {values[0]} in {files[0].name}, {values[1]} in "
                    f"{file.name}; give each series its own folder, without its scout views"
                )
    rows, columns, bits = (int(_numbers(headers[0], name)[0]) for name in ("Rows", "Columns", "BitsAllocated"))
    check_unpacked(folder, len(files) * rows * columns * bits // 8)
    if len(files) < 2:
        raise VolumeError(f"{folder} has one slice, {files[0].name}; a volume has several")


def _check_slice(file: Path, header: Any) -> None:
    """Refuse what is no slice of a CT in Hounsfield units by itself."""
    modality = _text(header, "Modality")
    if modality != "CT":
        raise VolumeError(f"{file} is of modality {modality}; the network is for CT")
    if header.get("NumberOfFrames") and _numbers(header, "NumberOfFrames")[0] > 1:
        raise VolumeError(f"{file} is a multi-frame image; convert it to a file per slice, or to NIfTI")
    if missing := [name for name in _GEOMETRY if header.get(name) is None]:
        raise VolumeError(f"{file} is no slice of a volume: it has no {', '.join(missing)}")
    if header.get("SamplesPerPixel", 1) != 1 or header.get("PhotometricInterpretation", _GREY) != _GREY:
        raise VolumeError(f"{file} is {header.get('PhotometricInterpretation')}; a CT slice is {_GREY}")
    if header.get("HighBit") is not None:
        high, stored = (int(_numbers(header, name)[0]) for name in ("HighBit", "BitsStored"))
        if high != stored - 1:
            raise VolumeError(f"{file} has HighBit {high} of {stored} bits, so that its values are shifted")
    if header.get("RescaleIntercept") is None or header.get("RescaleSlope") is None:
        raise VolumeError(
            f"{file} has no RescaleSlope and RescaleIntercept, so that its values are no Hounsfield units; convert "
            "the series to NIfTI with the scale of its scanner"
        )
    if _unit(header) not in _HOUNSFIELD:
        raise VolumeError(
            f"{file} has values of RescaleType {_unit(header)}, and the network is for Hounsfield units, HU"
        )


def _geometry(folder: Path, files: Sequence[Path], headers: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The order of the slices, and the affine of (column, row, slice) to RAS millimetres."""
    along_row, along_column = np.split(_numbers(headers[0], "ImageOrientationPatient"), 2)
    row_spacing, column_spacing = _numbers(headers[0], "PixelSpacing")
    positions = np.array([_numbers(header, "ImagePositionPatient") for header in headers])
    normal = np.cross(along_row, along_column)
    length = float(np.linalg.norm(normal))
    if not 0.99 < length < 1.01 or row_spacing <= 0 or column_spacing <= 0:
        raise VolumeError(
            f"{files[0]} has no proper geometry: ImageOrientationPatient {headers[0].ImageOrientationPatient}, "
            f"PixelSpacing {headers[0].PixelSpacing}"
        )
    depths = positions @ normal / length
    order = np.argsort(depths, kind="stable")
    _check_steps(folder, [files[i] for i in order], depths[order])
    positions = positions[order]
    lps = np.eye(4)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    lps[:3] = np.stack([along_row * column_spacing, along_column * row_spacing, step, positions[0]], axis=1)
    _check_line(folder, [files[i] for i in order], positions, lps)
    return order, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _check_line(folder: Path, files: Sequence[Path], positions: np.ndarray, lps: np.ndarray) -> None:
    """Refuse slices beside the straight line from the first to the last, which one affine would misplace."""
    places = (positions - lps[:3, 3]) @ np.linalg.inv(lps[:3, :3]).T  # in voxels
    places[:, 2] -= np.arange(len(places))
    if (apart := np.abs(places).max(axis=1)).max() > _PLACE_TOLERANCE:
        worst = int(apart.argmax())
        away_mm = float(np.linalg.norm(lps[:3, :3] @ places[worst]))
        raise VolumeError(
            f"{folder} has slices that are not in one line: {files[worst].name} lies {away_mm:.1f} mm from where the "
            "first and the last slice would have it; give slices of each field of view and distance their own folder"
        )


def _check_steps(folder: Path, files: Sequence[Path], depths: np.ndarray) -> None:
    steps = np.diff(depths)
    usual = float(np.median(steps))
    if len(same := np.flatnonzero(steps < 1e-3)):
        a, b = files[same[0]], files[same[0] + 1]
        raise VolumeError(
            f"{folder} has {len(same)} slices in the place of another, such as {a.name} and {b.name} at "
            f"{depths[same[0]]:g} mm: a slice twice, or several phases or reconstructions in one series; keep one "
            "of each"
        )
    if len(wide := np.flatnonzero(np.abs(steps - usual) > max(_SPACING_TOLERANCE * usual, 0.11))):
        places = "; ".join(
            f"{depths[i]:g} mm ({files[i].name}) to {depths[i + 1]:g} mm ({files[i + 1].name})" for i in wide[:3]
        )
        raise VolumeError(
            f"{folder} misses slices, or their distance changes: it is {usual:g} mm mostly, but not in {len(wide)} "
            f"places, such as {places}; get the missing slices, or resample the series to one distance"
        )


def _check_times(folder: Path, files: Sequence[Path], headers: Sequence[Any]) -> None:
    """Refuse slices of two scans between each other, such as two contrast phases."""
    for name, (words, change, share) in _ONE_WAY.items():
        values = [_when(header, name) for header in headers]
        known = [(value, file) for value, file in zip(values, files, strict=True) if value is not None]
        steps = np.diff([value for value, _ in known])
        forth, back = (np.flatnonzero(sign * steps > change) for sign in (1, -1))
        if len(forth) and len(back) and len(forth) + len(back) >= share * len(steps):
            a, b = (known[min(forth[0], back[0]) + i][1] for i in (0, 1))
            raise VolumeError(
                f"{folder} has slices of different {words} between each other, such as {a.name} and {b.name}: "
                "several phases in one series; give each its own folder"
            )


def _when(header: Any, name: str) -> float | None:
    """A number, or the second of the day, that says when a slice was made; None if it is not said."""
    value = header.get(name)
    text = "" if value is None else str(value).strip()
    if name not in _CLOCKS:
        return float(_numbers(header, name)[0]) if text else None
    if name == "AcquisitionTime" and not text:
        text = re.sub(r"[+-]\d{4}$", "", str(header.get("AcquisitionDateTime") or "").strip())[8:]
    match = re.fullmatch(r"(\d\d)(?::?(\d\d)(?::?(\d\d(?:\.\d*)?))?)?", text)
    return None if match is None else float(np.dot([float(part or 0) for part in match.groups()], (3600, 60, 1)))


def _shared(header: Any, name: str) -> str:
    """A value that all slices share, as text; of ImageType what the standard says: origin, patient, kind."""
    value = header.get(name, "")
    if isinstance(value, float):
        return f"{value:g}"  # 120 is 120.0
    return str(list(value)[:3]) if name == "ImageType" and not isinstance(value, str) else str(value)


def _numbers(header: Any, name: str) -> np.ndarray:
    """The values of a tag, as many as the standard says; a VolumeError names file and tag."""
    value = header.get(name)
    try:
        numbers = np.array(value, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != _LENGTHS.get(name, 1) or not np.isfinite(numbers).all():
        raise VolumeError(f"{header.filename} has {name} {value!r}, not {_LENGTHS.get(name, 1)} finite numbers")
    return numbers


def _unit(header: Any) -> str:
    return str(header.get("RescaleType") or "").strip().upper()


def _text(header: Any, name: str) -> str:
    return str(header.get(name) or f"without {name}")
