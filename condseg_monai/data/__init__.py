"""Data sets: reading images and CT volumes, lists and splits, preparation, augmentation, synthetic data."""

from condseg_monai.data.ct.organ_sampler import OrganSampler
from condseg_monai.data.ct.slices import LoadSliced, ResizeSliced, check_slices
from condseg_monai.data.ct.synapse import CT_WINDOW_HU, synapse_class_names
from condseg_monai.data.ct.volume import axial_slices
from condseg_monai.data.ct.volume_list import read_volume
from condseg_monai.data.images.color_augmentation import ColorPerturbation, StrongColorAugmentation
from condseg_monai.data.images.color_jitter import RandColorJitterd
from condseg_monai.data.images.image_reader import NaturalImageReader, read_natural_image
from condseg_monai.data.images.mask_reader import MaskReader, read_mask
from condseg_monai.data.images.normalization import NormalizeImage, NormalizeImaged, normalize_image
from condseg_monai.data.images.original_label import OriginalLabeld
from condseg_monai.data.lists.datalist import check_datalist
from condseg_monai.data.lists.pairing import DatasetError
from condseg_monai.data.lists.semi_supervised import PlaceholderLabeld, semi_supervised_datalists
from condseg_monai.data.lists.two_stream_sampler import TwoStreamBatchSampler
from condseg_monai.data.settings import model_settings
from condseg_monai.data.synthetic.endoscopy import make_synthetic_dataset

__all__ = [
    "CT_WINDOW_HU",
    "ColorPerturbation",
    "DatasetError",
    "LoadSliced",
    "MaskReader",
    "NaturalImageReader",
    "NormalizeImage",
    "NormalizeImaged",
    "OrganSampler",
    "OriginalLabeld",
    "PlaceholderLabeld",
    "RandColorJitterd",
    "ResizeSliced",
    "StrongColorAugmentation",
    "TwoStreamBatchSampler",
    "axial_slices",
    "check_datalist",
    "check_slices",
    "make_synthetic_dataset",
    "model_settings",
    "normalize_image",
    "read_mask",
    "read_natural_image",
    "read_volume",
    "semi_supervised_datalists",
    "synapse_class_names",
]
