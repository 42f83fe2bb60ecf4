"""Splits and datalists, image intake, augmentation, pictures and a synthetic data set."""

from condseg_monai.data.image_reader import (
    IMAGE_EXTENSIONS,
    NaturalImageReader,
    UnreadableImageError,
    read_natural_image,
)

__all__ = ["IMAGE_EXTENSIONS", "NaturalImageReader", "UnreadableImageError", "read_natural_image"]
