"""Writer of predictions for MONAI's SaveImaged, atomic: a file is whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import PILWriter
from numpy.typing import NDArray
from PIL import Image

from condseg_monai.utils.files import atomic_write
from condseg_monai.utils.palette import class_colors

__all__ = ["PredictionWriter"]


class PredictionWriter(PILWriter):
    """Write values in [0, 1] as a PNG from 0 to 255 or unrounded as a ``float32`` NPY, for ``SaveImaged``.

    A file appears when it is complete; one that is there stays. 8-bit integers, such as pictures in ``(H, W, 3)``, go
    to the PNG as they are. An NPY is ``(H, W)``, or ``(C, H, W)`` of several channels.

    Args:
        *args: of :class:`monai.data.PILWriter`.
        classes: of indices of classes, the value of each in the file, see :func:`write_mask`.
        **kwargs: of :class:`monai.data.PILWriter`.
    """

    def __init__(self, *args: Any, classes: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.classes = classes

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
        if path.exists():
            return
        array = np.asarray(self.data_obj)  # rows first, as the reader gives them
        if self.classes is None:
            write_array(path, array)
        else:
            write_mask(path, array, self.classes)


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, (array if array.ndim == 2 else array.transpose(2, 0, 1)).astype(np.float32))


def write_png(path: Path, array: NDArray[Any]) -> None:
    """Write ``(H, W)`` in [0, 1] as 0 to 255, or 8-bit integers as they are; atomic."""
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    _save_png(path, Image.fromarray(np.ascontiguousarray(array)))


def write_mask(path: Path, mask: NDArray[Any], classes: Mapping[str, Any] | None = None) -> None:
    """Write a mask ``(H, W)`` as PNG, with the values that the masks of training have; atomic.

    Args:
        path: of the file.
        mask: 0 and 1, or indices of classes.
        classes: of several classes, the value of each, background first. 0, 1, 2 and so on become a palette image,
            whose values are the indices and which viewers show in colours; other numbers a grey one, of 16 bits beyond
            255; colours an RGB one. None for a binary mask: 0 and 255.
    """
    if classes is None:
        write_png(path, (mask != 0).astype(np.float32))
        return
    values = np.array(list(classes.values()))
    pixels = values[mask.astype(np.int64)]
    image = Image.fromarray(pixels.astype(np.uint16 if values.max() > 255 else np.uint8))
    if values.tolist() == list(range(len(values))):
        image.putpalette(class_colors(len(values)).tobytes())
    _save_png(path, image)


def _save_png(path: Path, image: Image.Image) -> None:
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")


_WRITERS: dict[str, Callable[[Path, NDArray[Any]], None]] = {".npy": _write_npy, ".png": write_png}
