"""Read TransUNet's HDF5 volumes of windowed slices, which have no affine."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import

from condseg_monai.data.ct.synapse import CT_WINDOW_HU
from condseg_monai.data.ct.volume import Volume, VolumeError, check_unpacked

__all__ = ["H5_EXTENSION", "h5_stem", "open_h5", "read_h5_volume"]

h5py, _has_h5py = optional_import("h5py")

H5_EXTENSION = ".npy.h5"


def h5_stem(path: str | os.PathLike[str]) -> str | None:
    """The name of such a file without its extension; None if it is none by its name."""
    name = Path(path).name
    return name[: -len(H5_EXTENSION)] if name.lower().endswith(H5_EXTENSION) else None


def open_h5(path: str | os.PathLike[str]) -> Any:
    """Open an HDF5 file for reading; an ImportError names the extra that h5py needs."""
    if not _has_h5py:
        raise ImportError(f'{os.fspath(path)} needs h5py: pip install "condseg_monai[synapse]"')
    return h5py.File(path, "r")


def read_h5_volume(path: str | os.PathLike[str], key: str = "image") -> Volume:
    """Read ``image``, in [0, 1], or ``label`` of a volume; both are ``(D, H, W)``.

    The file has no affine: slices lie as :data:`~condseg_monai.data.ct.synapse.SLICE_ORIENTATION` says, with voxels of
    the attribute ``spacing_mm``, or of 1 mm. Hounsfield units are those of :data:`~condseg_monai.CT_WINDOW_HU`.

    Raises:
        ImportError: if h5py is not installed.
        VolumeError: if there is no such file or array, it has over 4 GiB, its ``spacing_mm`` are no sizes, or an image
            is not in [0, 1].
    """
    file = Path(path)
    if not file.is_file():
        raise VolumeError(f"{file} does not exist")
    try:
        with open_h5(file) as content:
            check_unpacked(file, content[key].nbytes)
            stack = np.asarray(content[key])
            depth, height, width = spacing = [float(size) for size in content.attrs.get("spacing_mm", (1, 1, 1))]
        if not all(0 < size < math.inf for size in spacing):
            raise ValueError(f"spacing_mm must be three numbers above 0, got {spacing}")
    except (VolumeError, ImportError):
        raise
    except Exception as error:  # HDF5 has a dozen kinds, of groups and links in the place of arrays too
        raise VolumeError(f"{file} cannot be read as a volume with image and label: {error}") from error
    if stack.ndim != 3 or min(stack.shape) < 2 or stack.dtype.kind not in "iuf":
        raise VolumeError(f"{file}: {key} must be (D, H, W) numbers, got {stack.dtype} {stack.shape}")
    lower, upper = CT_WINDOW_HU if key == "image" else (0.0, 1.0)
    if key == "image" and not (stack.min() >= -0.01 and stack.max() <= 1.01):
        raise VolumeError(f"{file}: the image must be windowed to [0, 1], got {stack.min():g} to {stack.max():g}")
    affine = np.diag([-width, -height, depth, 1.0])
    return Volume(file, stack.transpose(2, 1, 0), affine, float(upper - lower), float(lower), stack.shape[::-1])
