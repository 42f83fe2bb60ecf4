"""Normalisation: the range and channel order a network was trained on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

__all__ = ["NORMALIZATIONS", "NormalizeImage", "NormalizeImaged", "mean_and_std", "normalize_image"]

NORMALIZATIONS = ("imagenet", "released")
UNKNOWN = "unknown"
"""Normalisation of a model that is not there: an error when it is used."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize_image(image: Tensor, normalization: str = "imagenet") -> Tensor:
    """Bring RGB images from [0, 1] to what a network expects; differentiable, on the image's device.

    - ``"imagenet"``: RGB, minus ImageNet's mean, over its standard deviation: what ImageNet encoder weights expect. Of
      one channel, the means of the three: 0.449 and 0.226.
    - ``"released"``: BGR in [0, 1], no mean and deviation: what the released ConDSeg checkpoints were trained on.

    ``image`` is ``(C, H, W)`` or ``(B, C, H, W)`` with C of 3, RGB, or 1, floating point; the result is ``float32`` of
    the same shape.

    Raises:
        ValueError: if ``normalization`` is neither, or ``image`` has another shape or integer values.

    Example:
        >>> normalize_image(torch.full((3, 1, 1), 0.5)).flatten()
        tensor([0.0655, 0.1964, 0.4178])
    """
    if not image.is_floating_point():
        raise ValueError(f"image must be floating point in [0, 1], got {image.dtype}; scale it first")
    image = image.float()
    mean, std = mean_and_std(image, normalization)
    return ((image.flip(-3) if normalization == "released" else image) - mean) / std


def mean_and_std(image: Tensor, normalization: str = "imagenet") -> tuple[Tensor, Tensor]:
    """Return what :func:`normalize_image` subtracts of ``image``, and what it divides by: each ``(C, 1, 1)``.

    They are on the image's device, and 0 and 1 of ``"released"``.

    Raises:
        ValueError: if ``normalization`` is neither, or ``image`` has another number of channels than 1 and 3.
    """
    if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3):
        raise ValueError(f"image must be (C, H, W) or (B, C, H, W) of 1 or 3 channels, got {tuple(image.shape)}")
    if _checked(normalization) == UNKNOWN:
        raise ValueError(
            "the model's image_size and normalization are not known: there are neither weights nor a model card. Set "
            "checkpoint or ckpt_dir to the model you have; export a TorchScript from a bundle made by condseg pack, "
            "whose configs have the model's values"
        )
    if normalization == "released":
        return image.new_zeros(image.shape[-3], 1, 1), image.new_ones(image.shape[-3], 1, 1)
    mean, std = (_constants(values, image) for values in (_IMAGENET_MEAN, _IMAGENET_STD))
    if image.shape[-3] == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return mean, std


def _constants(values: Sequence[float], image: Tensor) -> Tensor:
    """``(C, 1, 1)``, filled on the image's device: a GPU would have to wait for a copy from the host."""
    return torch.stack([torch.full((1, 1), value, dtype=image.dtype, device=image.device) for value in values])


class NormalizeImage(Transform):
    """:func:`normalize_image` as a transform of one image ``(C, H, W)`` or a batch ``(B, C, H, W)``."""

    def __init__(self, normalization: str = "imagenet") -> None:
        self.normalization = _checked(normalization)

    def __call__(self, image: Tensor) -> Tensor:
        """Normalise one image or a batch."""
        return normalize_image(image, self.normalization)


class NormalizeImaged(MapTransform):
    """:func:`normalize_image` on entries of a dictionary."""

    def __init__(self, keys: KeysCollection, normalization: str = "imagenet", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalize = NormalizeImage(normalization)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return a copy of ``data`` with the entries normalised."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.normalize(result[key])
        return result


def _checked(normalization: str) -> str:
    if normalization not in (*NORMALIZATIONS, UNKNOWN):
        raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
    return normalization
