"""Inference: cases to process, predictions on disk, CT volumes slice by slice, acceleration."""

from condseg_monai.inference.acceleration import FastInference, use_channels_last
from condseg_monai.inference.cases import InferenceCases, InferenceError
from condseg_monai.inference.dicom_segmentation import SNOMED_CODES, write_dicom_seg
from condseg_monai.inference.evaluation_cases import EvaluationCases, EvaluationError
from condseg_monai.inference.openvino_network import OpenVINONetwork
from condseg_monai.inference.predictions import PredictionWriter
from condseg_monai.inference.region_inferer import RegionInferer, SplitUncertaintyd
from condseg_monai.inference.volume_files import SCORE_FORMATS, score_volume_writer, write_label_volume
from condseg_monai.inference.volume_inferer import RESIZINGS, VolumeInferer, keep_largest_components
from condseg_monai.inference.volumes import VolumeInference
from condseg_monai.inference.write_queue import WriteQueue

__all__ = [
    "RESIZINGS",
    "SCORE_FORMATS",
    "SNOMED_CODES",
    "EvaluationCases",
    "EvaluationError",
    "FastInference",
    "InferenceCases",
    "InferenceError",
    "OpenVINONetwork",
    "PredictionWriter",
    "RegionInferer",
    "SplitUncertaintyd",
    "VolumeInference",
    "VolumeInferer",
    "WriteQueue",
    "keep_largest_components",
    "score_volume_writer",
    "use_channels_last",
    "write_dicom_seg",
    "write_label_volume",
]
