"""CT volume in memory: stored values, affine, and axial slices as views."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from condseg_monai.data.ct.synapse import SLICE_ORIENTATION

__all__ = ["axial_slices"]

MAX_VOLUME_BYTES = 1 << 32
"""A volume that unpacks to more is refused: a few megabytes may hold gigabytes. 2000 slices of 512 x 512 have a
quarter in 16 bits, half in 32."""
_AXES = ("S", *SLICE_ORIENTATION)  # where the three axes of a stack of slices lead
_SOFTEST_HU = -50  # every CT of a body has air or fat, below this ...
_DENSEST_HU = 0  # ... and tissue, above this
_ROUNDING = 0.01  # labels that are stored with a slope are a little off: 4.99995


class VolumeError(ValueError):
    """A volume that cannot be used; the message says which, what was found, and what to do about it."""


def check_unpacked(path: Path, size: int) -> None:
    """Raise a VolumeError if the voxels of a compressed file take more than :data:`MAX_VOLUME_BYTES` bytes."""
    if size > MAX_VOLUME_BYTES:
        raise VolumeError(f"{path} unpacks to {size} bytes, more than the limit of {MAX_VOLUME_BYTES}")


@dataclass(frozen=True)
class Volume:
    """A volume as its file has it; nothing is scaled, turned or copied before a slice is asked for."""

    path: Path  # the file, or the folder of a DICOM series
    array: np.ndarray  # ``(I, J, K)``: stored values, the axes in the order of the file
    affine: np.ndarray  # ``(4, 4)``: from indices into ``array`` to millimetres, RAS
    slope: float = 1.0  # Hounsfield units are ``array * slope + intercept``
    intercept: float = 0.0
    file_shape: tuple[int, ...] = ()  # the shape in the file, which may have a fourth axis of length 1
    header: Any = None  # of a NIfTI image, which its labels inherit
    slice_files: tuple[Path, ...] = field(default=(), repr=False)  # DICOM: the file of each ``array[:, :, k]``

    @property
    def is_dicom(self) -> bool:
        """Whether it was a DICOM series."""
        return bool(self.slice_files)

    def hounsfield(self, stored: np.ndarray) -> np.ndarray:
        """Return Hounsfield units, ``float32``, for a part of :attr:`array`."""
        units = np.asarray(stored, dtype=np.float32)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return units
        return units * np.float32(self.slope) + np.float32(self.intercept)


def class_numbers(volume: Volume, stored: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the class numbers, ``uint8``, of a part of a label volume's array, rounded where a slope left them off.

    Raises:
        VolumeError: if they are not whole numbers from 0 to ``num_classes - 1``.
    """
    units = stored if (volume.slope, volume.intercept) == (1.0, 0.0) else volume.hounsfield(stored)
    numbers = np.rint(units) if units.dtype.kind == "f" else units
    if units.dtype.kind == "f" and not (np.abs(numbers - units) <= _ROUNDING).all():  # NaN is none either
        value = units[~(np.abs(numbers - units) <= _ROUNDING)][0]
        raise VolumeError(f"{volume.path} holds {value:g} and not whole numbers alone: it is no label volume")
    if numbers.min() < 0 or numbers.max() >= num_classes:
        raise VolumeError(
            f"{volume.path} has labels from {numbers.min():g} to {numbers.max():g}, but there are names for 0 to "
            f"{num_classes - 1}"
        )
    return numbers.astype(np.uint8)


def axial_slices(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """See a volume ``(I, J, K, ...)`` as a stack of axial slices ``(D, H, W, ...)``: a view, never a copy.

    D counts towards the head, H to the back, W to the left; of an oblique volume, the closest axes are taken.
    ``affine``, ``(4, 4)``, leads from the first three indices to millimetres, RAS.

    Raises:
        VolumeError: if the affine does not tell the three axes apart.

    Example:
        >>> volume = np.arange(24).reshape(2, 3, 4)  # towards right, front and head
        >>> axial_slices(volume, np.eye(4))[0].tolist()  # from the front, and from the right, on
        [[20, 8], [16, 4], [12, 0]]
    """
    return apply_orientation(array, _to_slices(affine))


def volume_of_slices(slices: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo :func:`axial_slices`: view slices ``(D, H, W, ...)`` in the order of axes of the volume with this affine."""
    return apply_orientation(slices, ornt_transform(axcodes2ornt(_AXES), io_orientation(affine)))


def axial_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the voxel's size in millimetres along the axes of :func:`axial_slices`: (D, H, W)."""
    spacing = np.empty(3)
    spacing[_to_slices(affine)[:, 0].astype(int)] = voxel_sizes(np.asarray(affine, dtype=float))
    return float(spacing[0]), float(spacing[1]), float(spacing[2])


def axial_axes(affine: np.ndarray) -> np.ndarray:
    """Return :func:`axial_spacing`, ``(3,)``, or where axes are at no right angles, as of a tilted gantry, all of them.

    These are ``(3, 3)`` in millimetres, a column per axis of :func:`axial_slices`.
    """
    axes = axial_affine(affine, (1, 1, 1))[:3, :3]
    spacing = np.array(axial_spacing(affine))
    return spacing if np.abs(axes.T @ axes / np.outer(spacing, spacing) - np.eye(3)).max() < 1e-3 else axes


def axial_affine(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the affine from indices into :func:`axial_slices` of a volume of this shape to millimetres, RAS."""
    return np.asarray(affine, dtype=float) @ inv_ornt_aff(_to_slices(affine), shape[:3])


def check_hounsfield(volume: Volume) -> None:
    """Raise a VolumeError unless values are finite, some -50 or less and some 0 or more: Hounsfield units of a body."""
    low, high, wrong, first = float("inf"), -float("inf"), 0, -1
    for k in range(volume.array.shape[2]):
        part = volume.array[:, :, k]
        if part.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(part)))):
            wrong, first = wrong + bad, k if first < 0 else first
            continue
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if wrong:
        raise VolumeError(
            f"{volume.path} has {wrong} voxels that are NaN or infinite, the first at index {first} of its third axis; "
            "replace them, by -1024 where the scanner saw nothing"
        )
    low, high = sorted((low * volume.slope + volume.intercept, high * volume.slope + volume.intercept))
    if low > _SOFTEST_HU or high < _DENSEST_HU:
        raise VolumeError(
            f"{volume.path} has values from {low:g} to {high:g}, which are not Hounsfield units of a body (air about "
            "-1000, fat -100, soft tissue 50): convert it from the scanner's files with slope and intercept applied; "
            "check_values false if the values are right"
        )


def _to_slices(affine: np.ndarray) -> np.ndarray:
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise VolumeError(f"an affine must be (4, 4) finite numbers, got {matrix.tolist()}")
    current = io_orientation(matrix)
    if np.isnan(current).any():
        raise VolumeError(f"the affine {matrix.tolist()} does not tell three axes apart")
    return ornt_transform(current, axcodes2ornt(_AXES))
