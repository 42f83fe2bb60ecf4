"""Splits and datalists, image intake, augmentation, pictures and a synthetic data set."""

from condseg_monai.data.datalist import check_datalist, datalist_hash, load_datalist
from condseg_monai.data.image_reader import (
    IMAGE_EXTENSIONS,
    NaturalImageReader,
    UnreadableImageError,
    read_natural_image,
)
from condseg_monai.data.pairing import DatasetError

__all__ = [
    "IMAGE_EXTENSIONS",
    "DatasetError",
    "NaturalImageReader",
    "UnreadableImageError",
    "check_datalist",
    "datalist_hash",
    "load_datalist",
    "read_natural_image",
]
