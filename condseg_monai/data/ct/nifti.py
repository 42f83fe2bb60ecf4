"""Read NIfTI volumes with only the stored values in memory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.openers import ImageOpener
from nibabel.orientations import aff2axcodes

from condseg_monai.data.ct.volume import Volume, VolumeError, axial_spacing, check_unpacked

__all__ = ["NIFTI_EXTENSIONS", "nifti_stem", "read_nifti"]

_CHUNK_BYTES = 1 << 22
_MAX_OFFSET = 1 << 26  # of the voxels: before them are header and extensions
NIFTI_EXTENSIONS = (".nii", ".nii.gz")


def nifti_stem(path: str | os.PathLike[str]) -> str | None:
    """The name of a NIfTI file without its extension; None if it is no NIfTI by its name."""
    name = Path(path).name
    return next((name[: -len(end)] for end in NIFTI_EXTENSIONS if name.lower().endswith(end)), None)


def read_nifti(path: str | os.PathLike[str]) -> Volume:
    """Read the stored values of a ``.nii`` or ``.nii.gz`` of three axes, or of four of which the last has length 1.

    Raises:
        VolumeError: if the file is no such volume, is cut short or longer than its header says, unpacks to more than
            4 GiB, or does not say how it lies in the patient.
    """
    file = Path(path)
    if not file.is_file():
        raise VolumeError(f"{file} does not exist")
    try:
        _check_offset(file)
        image: Any = nibabel.load(file)
        header, stored = image.header, image.dataobj
        shape = tuple(int(length) for length in image.shape)
    except Exception as error:  # nibabel lets many kinds of exception out of a damaged file
        raise VolumeError(f"{file} is not a NIfTI volume: {error}") from error
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise VolumeError(f"{file} is a 2D image, {shape}; a volume has several slices")
    if any(length != 1 for length in shape[3:]):
        raise VolumeError(f"{file} holds several volumes, {shape}; give one at a time")
    _check_geometry(file, header)
    if stored.dtype.kind not in "iuf":
        raise VolumeError(f"{file} holds {stored.dtype} and not one number per voxel")
    is_compressed = file.suffix.lower() == ".gz"
    if is_compressed:
        check_unpacked(file, math.prod(shape) * stored.dtype.itemsize)
    try:
        # An uncompressed file is mapped; nibabel would hold a compressed one twice while it reads it.
        array = _read_compressed(file, stored) if is_compressed else np.asanyarray(stored.get_unscaled())
    except Exception as error:
        raise VolumeError(f"{file} is damaged: {error}") from error
    array = array.reshape(shape[:3], order="F") if len(shape) > 3 else array
    affine = np.diag([*[_millimetres(file, header)] * 3, 1.0]) @ np.asarray(image.affine, dtype=float)
    try:
        axial_spacing(affine)
    except VolumeError as error:
        raise VolumeError(f"{file} does not say how it lies in the patient: {error}") from error
    return Volume(file, array, affine, float(stored.slope), float(stored.inter), shape, header.copy())


def _check_offset(file: Path) -> None:
    """Refuse extensions of a header that would fill the memory, before nibabel reads them."""
    with ImageOpener(str(file), "rb") as stream:
        start = stream.read(nibabel.Nifti2Header.sizeof_hdr)
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if kind.may_contain_header(start):
            offset = float(kind(start[: kind.sizeof_hdr], check=False)["vox_offset"])
            if not offset <= _MAX_OFFSET:
                raise ValueError(f"its voxels start at byte {offset:g}, beyond the limit of {_MAX_OFFSET}")


def _read_compressed(file: Path, stored: Any) -> np.ndarray:
    """The stored values of a compressed file, read straight into their array."""
    array = np.empty(stored.shape, dtype=stored.dtype, order="F")
    target = array.reshape(-1, order="F").view(np.uint8).data
    done = 0
    with ImageOpener(str(file), "rb") as stream:
        stream.seek(stored.offset)
        while done < len(target):
            read = stream.readinto(target[done : done + _CHUNK_BYTES])
            if not read:
                raise EOFError(f"it is cut short: expected {len(target)} bytes of voxels, found {done}")
            done += read
        if stream.read(1):  # the archive's checksum is compared at its end
            raise ValueError(f"it has more than the {len(target)} bytes of voxels that its header says")
    return array


def qform_of(header: Any) -> np.ndarray | None:
    """The affine of a header's qform; None if it is unset, no rotation or not finite."""
    try:
        qform = header.get_qform(coded=True)[0]
    except ValueError:  # a quaternion longer than 1
        return None
    return qform if qform is not None and np.isfinite(qform).all() else None


def _millimetres(file: Path, header: Any) -> float:
    """The length of the unit of a header's affine; millimetres if it says none."""
    lengths = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
    try:
        return lengths[header.get_xyzt_units()[0]]
    except KeyError as error:
        raise VolumeError(f"{file} has an unknown unit of length, xyzt_units {header['xyzt_units']}") from error


def _check_geometry(file: Path, header: Any) -> None:
    sform, qform = header.get_sform(coded=True)[0], qform_of(header)
    if sform is None and qform is None:
        raise VolumeError(
            f"{file} does not say how it lies in the patient (sform and qform are both unset), so that left and right "
            "cannot be told apart: convert it again from its source, or set its sform if you know it"
        )
    if sform is not None and qform is not None and aff2axcodes(sform) != aff2axcodes(qform):
        raise VolumeError(
            f"{file} contradicts itself: its axes lead to {''.join(map(str, aff2axcodes(sform)))} by its sform and to "
            f"{''.join(map(str, aff2axcodes(qform)))} by its qform; remove the wrong one"
        )
