"""DICOM series: read the slices of a CT, sorted by position."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import

from condseg_monai.data.ct.volume import Volume, VolumeError

__all__ = ["list_dicom_files", "read_dicom_series"]

pydicom, _has_pydicom = optional_import("pydicom")

_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR: a list of files, no image
_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
# What all slices of a volume share: words for errors, and by how much numbers may differ.
_SAME: dict[str, tuple[str, float]] = {
    "FrameOfReferenceUID": ("frames of reference", 0),
    "Rows": ("heights", 0),
    "Columns": ("widths", 0),
    "PixelRepresentation": ("pixel types", 0),
    "BitsAllocated": ("pixel sizes", 0),
    "ImageOrientationPatient": ("orientations", 1e-3),
    "PixelSpacing": ("pixel spacings", 1e-4),
}
_HEADER = [
    *("InstanceNumber", "Modality", "NumberOfFrames", "PhotometricInterpretation", "RescaleIntercept", "RescaleSlope"),
    *("SamplesPerPixel", "SeriesDescription", "SeriesInstanceUID", *_GEOMETRY, *_SAME),
]
_SPACING_TOLERANCE = 0.1  # of the distance of slices; positions are often rounded to a tenth of a millimetre


def list_dicom_files(folder: str | os.PathLike[str]) -> list[Path]:
    """DICOM files of one folder, whatever they are called, by name; a DICOMDIR is none."""
    return [path for path in sorted(Path(folder).iterdir()) if path.is_file() and _is_dicom(path)]


def read_dicom_series(folder: str | os.PathLike[str]) -> Volume:
    """Read a folder that holds one CT series, a file per slice, sorted along the normal of the image plane.

    The array has columns, rows, slices; stored values, or Hounsfield units where slices differ in slope or intercept.

    Raises:
        VolumeError: if there is no DICOM file, more than one series, no CT, a slice missing or twice, slices that
            differ in size or orientation, or pixels that cannot be decoded.
        ImportError: if pydicom is not installed; the message names the extra.
    """
    if not _has_pydicom:
        raise ImportError('DICOM needs pydicom: pip install "condseg_monai[dicom]"')
    path = Path(folder)
    files = list_dicom_files(path)
    if not files:
        raise VolumeError(f"{path} has no DICOM file")
    headers = [_header(file) for file in files]
    _check_series(path, files, headers)
    order, affine = _geometry(path, files, headers)
    files, headers = [files[i] for i in order], [headers[i] for i in order]
    slopes, intercepts = (
        np.array([float(getattr(header, name, None) or default) for header in headers])
        for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
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


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(4096)
    return start[128:132] == b"DICM" and _DIRECTORY.encode() + b"\0" not in start


def _header(file: Path) -> Any:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_HEADER)
    except Exception as error:  # pydicom lets many kinds of exception out of a damaged file
        raise VolumeError(f"{file} is not a DICOM file that can be read: {error}") from error


def _pixels(file: Path) -> np.ndarray:
    try:
        return np.asarray(pydicom.dcmread(file).pixel_array)
    except Exception as error:
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
        modality = _text(header, "Modality")
        if modality != "CT":
            raise VolumeError(f"{file} is of modality {modality}; the network is for CT")
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise VolumeError(f"{file} is a multi-frame image; convert it to a file per slice, or to NIfTI")
        if missing := [name for name in _GEOMETRY if header.get(name) is None]:
            raise VolumeError(f"{file} is no slice of a volume: it has no {', '.join(missing)}")
        if int(header.get("SamplesPerPixel") or 1) != 1 or header.get("PhotometricInterpretation") == "MONOCHROME1":
            raise VolumeError(f"{file} is {header.get('PhotometricInterpretation')}; a CT slice is MONOCHROME2")
    for file, header in zip(files, headers, strict=True):
        for name, (words, tolerance) in _SAME.items():
            values = [one.get(name, "") for one in (headers[0], header)]
            if tolerance:
                alike = np.allclose(_numbers(header, name), _numbers(headers[0], name), rtol=0, atol=tolerance)
            else:
                alike = str(values[0]) == str(values[1])
            if not alike:
                raise VolumeError(
                    f"{folder} mixes slices of different {words}: {values[0]} in {files[0].name}, {values[1]} in "
                    f"{file.name}; give each series its own folder, without its scout views"
                )
    if len(files) < 2:
        raise VolumeError(f"{folder} has one slice, {files[0].name}; a volume has several")


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
    return order, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


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


def _numbers(header: Any, name: str) -> np.ndarray:
    return np.array([float(value) for value in header.get(name)], dtype=float)


def _text(header: Any, name: str) -> str:
    return str(header.get(name) or f"without {name}")
