"""Original-size label, beside the one that is resized for the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Transform
from monai.utils import ImageMetaKey
from torch import Tensor

from condseg_monai.data.lists.pairing import DatasetError, different_sizes

__all__ = ["OriginalLabeld"]


class OriginalLabeld(Transform):
    """Keep the label as ``output_key``, before it is resized, and check that it has the size of the image.

    Raises:
        DatasetError: when called, naming both files, if their sizes differ.
    """

    def __init__(self, image_key: str = "image", label_key: str = "label", output_key: str = "label_original") -> None:
        self.image_key, self.label_key, self.output_key = image_key, label_key, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the label of original size."""
        image, label = data[self.image_key], data[self.label_key]
        if image.shape[1:] != label.shape[1:]:
            image_file, label_file = (array.meta[ImageMetaKey.FILENAME_OR_OBJ] for array in (image, label))
            raise DatasetError(different_sizes(image_file, image.shape[1:], label_file, label.shape[1:]))
        return {**data, self.output_key: label.as_subclass(Tensor)}
