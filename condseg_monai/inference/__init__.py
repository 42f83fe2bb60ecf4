"""Inference: cases to process, predictions on disk, CT volumes slice by slice."""

from condseg_monai.inference.case_loader import CaseLoader, CasePostprocessing, predict_cases
from condseg_monai.inference.cases import image_cases, scored_cases, volume_cases
from condseg_monai.inference.finite_output import CheckFinited
from condseg_monai.inference.model_files import default_checkpoint
from condseg_monai.inference.predictions import SaveImagePredictiond
from condseg_monai.inference.region_inferer import RegionInferer
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint, RequiredCheckpointLoader
from condseg_monai.inference.volume_inferer import VolumeInferer
from condseg_monai.inference.volumes import VolumeInference

__all__ = [
    "CaseLoader",
    "CasePostprocessing",
    "CheckFinited",
    "RegionInferer",
    "RequiredCheckpoint",
    "RequiredCheckpointLoader",
    "SaveImagePredictiond",
    "VolumeInference",
    "VolumeInferer",
    "default_checkpoint",
    "image_cases",
    "predict_cases",
    "scored_cases",
    "volume_cases",
]
