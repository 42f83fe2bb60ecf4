"""Image and mask readers for MONAI's ``LoadImaged``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import fspath
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple

from condseg_monai.data.images.image_reader import IMAGE_EXTENSIONS, check_mode, read_natural_image
from condseg_monai.data.images.mask_reader import DEFAULT_THRESHOLD, read_mask

__all__ = ["MaskReader", "NaturalImageReader"]


class NaturalImageReader(ImageReader):
    """Image reader for MONAI's ``LoadImaged``, rows first; :func:`~condseg_monai.read_natural_image` says what
    becomes of each kind.

    Arrays are ``(H, W, 3)`` for ``mode="RGB"`` and ``(H, W)`` for ``mode="gray"`` and ``"L"``. MONAI's own 2D readers
    give columns first.

    Example:
        >>> loader = LoadImaged(keys="label", reader=NaturalImageReader(mode="L"))
    """

    def __init__(self, mode: str = "RGB") -> None:
        check_mode(mode)
        self.mode = mode

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether every name ends in one of ``IMAGE_EXTENSIONS``, in any case."""
        return all(fspath(name).lower().endswith(IMAGE_EXTENSIONS) for name in ensure_tuple(filename))

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Keep the file name for :meth:`get_data`: ``LoadImage`` would try other readers after an error here."""
        return ensure_tuple(data)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Decode the file to values in [0, 255], ``uint8`` or ``float32``, and MONAI's metadata."""
        (name,) = img
        array = read_natural_image(name, self.mode)
        channel_dim = float("nan") if array.ndim == 2 else -1
        return array, {MetaKeys.SPATIAL_SHAPE: np.array(array.shape[:2]), MetaKeys.ORIGINAL_CHANNEL_DIM: channel_dim}


class MaskReader(NaturalImageReader):
    """Mask reader for MONAI's ``LoadImaged``, rows first; see :func:`read_mask`.

    Args:
        threshold: of a binary mask, as of :func:`read_mask`.
        classes: of several classes, the value of each by its name, background first.

    Attributes:
        threshold: above which a binary mask is foreground; None for several classes.

    Raises:
        ValueError: if ``threshold`` is not in [0, 255), or given beside ``classes``.
    """

    def __init__(self, threshold: float | None = None, classes: Mapping[str, Any] | None = None) -> None:
        super().__init__("L")
        if threshold is not None and not 0 <= threshold < 255:
            raise ValueError(f"threshold must be in [0, 255), got {threshold}")
        if threshold is not None and classes is not None:
            raise ValueError(f"mask_threshold ({threshold:g}) is of binary masks, and there are classes: leave it out")
        self.class_values = None if classes is None else list(classes.values())
        self.is_strict = threshold is None
        self.threshold = DEFAULT_THRESHOLD if threshold is None and classes is None else threshold

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Decode the file, ``uint8``, and give MONAI's metadata."""
        (name,) = img
        array = read_mask(name, None if self.is_strict else self.threshold, self.class_values)
        return array, {MetaKeys.SPATIAL_SHAPE: np.array(array.shape), MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan")}
