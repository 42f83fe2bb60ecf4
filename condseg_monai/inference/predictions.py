"""Transform that saves predictions, atomically: a file is whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import PILWriter
from monai.transforms import SaveImaged
from numpy.typing import NDArray
from PIL import Image

from condseg_monai.utils.files import atomic_write
from condseg_monai.utils.palette import class_colors

__all__ = ["SaveImagePredictiond"]


class SaveImagePredictiond(SaveImaged):
    """Save values in [0, 1] as a PNG from 0 to 255 or unrounded as a ``float32`` NPY, named as the image's file, or as
    the case's ``name`` says.

    A file appears when it is complete; one that is there stays. 8-bit integers, such as pictures ``(3, H, W)``, go to
    the PNG as they are. An NPY is ``(H, W)``, or ``(C, H, W)`` of several channels. Unlike MONAI's transform, which
    reports any error as a missing writer, this raises what the system says.

    Args:
        keys: of the tensors ``(C, H, W)``, whose metadata have the image's file.
        output_dir: the folder of the files.
        output_ext: ``".png"`` or ``".npy"``.
        classes: of indices of classes, the value of each in the file, see :func:`write_mask`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | PathLike[str],
        output_ext: str = ".png",
        classes: Mapping[str, Any] | None = None,
    ) -> None:
        if output_ext not in _WRITERS:
            raise ValueError(f"output_ext must be one of {', '.join(_WRITERS)}, got {output_ext!r}")
        super().__init__(keys, output_dir=Path(output_dir), output_ext=output_ext, writer=PILWriter, print_log=False)
        self.output_dir, self.output_ext, self.classes = Path(output_dir), output_ext, classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save what is not there yet and return ``data``; an OSError names the file that cannot be written."""
        for key in self.key_iterator(dict(data)):
            path = self.output_dir / f"{output_name(data, key)}{self.output_ext}"
            if path.exists():
                continue
            array = data[key].detach().cpu().numpy()
            array = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
            if self.classes is None:
                _WRITERS[self.output_ext](path, array)
            else:
                write_mask(path, array, self.classes)
        return dict(data)


def output_name(data: Mapping[Hashable, Any], key: Hashable) -> str:
    """Name of a case's outputs without extension: its ``name``, or the stem of the file that ``key`` is of."""
    return str(data.get("name") or Path(data[key].meta["filename_or_obj"]).stem)


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
