"""Predictions on disk, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, PILWriter
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from condseg_monai.data.image_reader import read_natural_image
from condseg_monai.data.pictures import draw_overlay
from condseg_monai.engines.files import atomic_write
from condseg_monai.engines.write_queue import WriteQueue

__all__ = ["DrawOverlayd", "PredictionWriter"]


class PredictionWriter(PILWriter):
    """Write values in [0, 1] as a PNG from 0 to 255 or unrounded as an ``(H, W)`` ``float32`` NPY, for ``SaveImaged``.

    A file appears when it is complete: a run that is killed leaves no half mask that the next one would take for done.
    8-bit integers, such as pictures in ``(H, W, 3)``, go to the PNG as they are.

    Args:
        *args: as for :class:`monai.data.PILWriter`.
        queue: writes the files beside other work; None writes them at once.
        **kwargs: as for :class:`monai.data.PILWriter`.
    """

    def __init__(self, *args: Any, queue: WriteQueue | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = queue

    def write(self, filename: str | PathLike[str], verbose: bool = False, **kwargs: Any) -> None:
        """Write what ``set_data_array`` was given.

        Args:
            filename: ends in ``.png`` or ``.npy``.
            verbose: not used; progress is shown elsewhere.
            kwargs: not used.

        Raises:
            ValueError: if ``filename`` ends in something else.
        """
        path = Path(filename)
        write_array = _WRITERS.get(path.suffix)
        if write_array is None:
            raise ValueError(f"a prediction is written as .png or .npy, not as {path.name}")
        write = partial(write_array, path, np.moveaxis(np.asarray(self.data_obj), 0, 1))  # MONAI's (W, H) to rows first
        if self.queue is None:
            write()
        else:
            self.queue.put(path, write)


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array.astype(np.float32))


def _write_png(path: Path, array: NDArray[Any]) -> None:
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array)).save(temporary, format="PNG")


_WRITERS: dict[str, Callable[[Path, NDArray[Any]], None]] = {".npy": _write_npy, ".png": _write_png}


class DrawOverlayd(MapTransform):
    """Draw the contour of a mask on the file the image came from; see :func:`~condseg_monai.data.draw_overlay`.

    Args:
        keys: the mask, ``(1, W, H)`` of 0 and 1 in MONAI's order and the size of the file, with its metadata.
        output_key: the entry for the picture, ``(3, W, H)``, ``uint8``.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "overlay") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the picture added."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask: MetaTensor = result[key]
            image = read_natural_image(mask.meta[ImageMetaKey.FILENAME_OR_OBJ])
            image = image.round().astype(np.uint8)  # 16-bit files have fractions of [0, 255]
            overlay = draw_overlay(image, mask.as_tensor()[0].T.cpu().numpy())
            picture: Tensor = torch.from_numpy(np.ascontiguousarray(overlay.transpose(2, 1, 0)))
            result[self.output_key] = MetaTensor(picture, meta=mask.meta)
        return result
