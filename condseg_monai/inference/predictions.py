"""Writer of predictions for MONAI's SaveImaged, atomic: a file is whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import PILWriter
from numpy.typing import NDArray
from PIL import Image

from condseg_monai.utils.files import atomic_write

__all__ = ["PredictionWriter"]


class PredictionWriter(PILWriter):
    """Write values in [0, 1] as a PNG from 0 to 255 or unrounded as an ``(H, W)`` ``float32`` NPY, for ``SaveImaged``.

    A file appears when it is complete; one that is there stays. 8-bit integers, such as pictures in ``(H, W, 3)``, go
    to the PNG as they are. Arguments are those of :class:`monai.data.PILWriter`.
    """

    def set_data_array(
        self,
        data_array: Any,
        channel_dim: int | None = 0,
        squeeze_end_dims: bool = True,
        contiguous: bool = False,
        **_: Any,
    ) -> None:
        """Take ``(C, H, W)``; of one channel ``(H, W)``, where MONAI also squeezes a width and a height of 1."""
        super().set_data_array(data_array, channel_dim, squeeze_end_dims=False)
        array = np.asarray(self.data_obj)
        self.data_obj = array[..., 0] if array.shape[-1] == 1 else array

    def write(self, filename: str | PathLike[str], verbose: bool = False, **kwargs: Any) -> None:
        """Write what ``set_data_array`` was given to ``.png`` or ``.npy``; a ValueError for others."""
        path = Path(filename)
        write_array = _WRITERS.get(path.suffix)
        if write_array is None:
            raise ValueError(f"a prediction is written as .png or .npy, not as {path.name}")
        if not path.exists():
            write_array(path, np.asarray(self.data_obj))  # rows first, as the reader gives them


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array.astype(np.float32))


def write_png(path: Path, array: NDArray[Any]) -> None:
    """Write ``(H, W)`` in [0, 1] as 0 to 255, or 8-bit integers as they are; atomic."""
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array)).save(temporary, format="PNG")


_WRITERS: dict[str, Callable[[Path, NDArray[Any]], None]] = {".npy": _write_npy, ".png": write_png}
