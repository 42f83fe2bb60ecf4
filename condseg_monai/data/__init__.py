"""Data sets: reading images and CT volumes, lists and splits, preparation, augmentation, synthetic data."""

from condseg_monai.data.ct.dicom_series import list_dicom_files, read_dicom_series
from condseg_monai.data.ct.h5_volume import read_h5_volume
from condseg_monai.data.ct.nifti import NIFTI_EXTENSIONS, nifti_stem, read_nifti
from condseg_monai.data.ct.organ_sampler import OrganSampler
from condseg_monai.data.ct.slice_resize import resize_label_slice, resize_scores, resize_slice
from condseg_monai.data.ct.slices import LoadSliced, ResizeSliced, check_slices, read_slice, slice_count
from condseg_monai.data.ct.synapse import (
    BTCV_ORGANS,
    CT_WINDOW_HU,
    SLICE_ORIENTATION,
    SYNAPSE_ORGANS,
    btcv_label_map,
    synapse_class_names,
    window_ct,
)
from condseg_monai.data.ct.volume import (
    Volume,
    VolumeError,
    axial_affine,
    axial_slices,
    axial_spacing,
    check_hounsfield,
    volume_of_slices,
)
from condseg_monai.data.ct.volume_list import list_volumes, read_volume
from condseg_monai.data.images.binarize import BinarizeLabeld
from condseg_monai.data.images.color_augmentation import StrongColorAugmentation
from condseg_monai.data.images.color_perturbation import ColorPerturbation
from condseg_monai.data.images.image_reader import (
    IMAGE_EXTENSIONS,
    NaturalImageReader,
    UnreadableImageError,
    read_natural_image,
)
from condseg_monai.data.images.normalization import NormalizeImage, NormalizeImaged, normalize_image
from condseg_monai.data.images.original_label import OriginalLabeld
from condseg_monai.data.lists.datalist import check_datalist, datalist_hash
from condseg_monai.data.lists.dataset_report import DatasetReport, SplitSummary, inspect_dataset
from condseg_monai.data.lists.image_list import list_images, list_other_files
from condseg_monai.data.lists.pairing import DatasetError, Finding
from condseg_monai.data.lists.published_splits import PUBLISHED_LISTS, published_list
from condseg_monai.data.lists.semi_supervised import PlaceholderLabeld, semi_supervised_datalists
from condseg_monai.data.lists.two_stream_sampler import TwoStreamBatchSampler
from condseg_monai.data.prepare.images import prepare_dataset
from condseg_monai.data.prepare.synapse import prepare_synapse
from condseg_monai.data.synthetic.ct_phantom import make_ct_phantom, make_synthetic_ct
from condseg_monai.data.synthetic.endoscopy import make_synthetic_dataset

__all__ = [
    "BTCV_ORGANS",
    "CT_WINDOW_HU",
    "IMAGE_EXTENSIONS",
    "NIFTI_EXTENSIONS",
    "PUBLISHED_LISTS",
    "SLICE_ORIENTATION",
    "SYNAPSE_ORGANS",
    "BinarizeLabeld",
    "ColorPerturbation",
    "DatasetError",
    "DatasetReport",
    "Finding",
    "LoadSliced",
    "NaturalImageReader",
    "NormalizeImage",
    "NormalizeImaged",
    "OrganSampler",
    "OriginalLabeld",
    "PlaceholderLabeld",
    "ResizeSliced",
    "SplitSummary",
    "StrongColorAugmentation",
    "TwoStreamBatchSampler",
    "UnreadableImageError",
    "Volume",
    "VolumeError",
    "axial_affine",
    "axial_slices",
    "axial_spacing",
    "btcv_label_map",
    "check_datalist",
    "check_hounsfield",
    "check_slices",
    "datalist_hash",
    "inspect_dataset",
    "list_dicom_files",
    "list_images",
    "list_other_files",
    "list_volumes",
    "make_ct_phantom",
    "make_synthetic_ct",
    "make_synthetic_dataset",
    "nifti_stem",
    "normalize_image",
    "prepare_dataset",
    "prepare_synapse",
    "published_list",
    "read_dicom_series",
    "read_h5_volume",
    "read_natural_image",
    "read_nifti",
    "read_slice",
    "read_volume",
    "resize_label_slice",
    "resize_scores",
    "resize_slice",
    "semi_supervised_datalists",
    "slice_count",
    "synapse_class_names",
    "volume_of_slices",
    "window_ct",
]
