"""What a MONAI trainer needs beyond MONAI: batches of views, stage hand-over, safe checkpoints, records and reports."""

from condseg_monai.engines.checkpoint_saver import AtomicCheckpointSaver
from condseg_monai.engines.dicom_seg import SNOMED_CODES, write_dicom_seg
from condseg_monai.engines.early_stop import EarlyStop
from condseg_monai.engines.environment import describe_environment
from condseg_monai.engines.evaluation_cases import EvaluationCases, EvaluationError
from condseg_monai.engines.fast_inference import FastInference, use_channels_last
from condseg_monai.engines.files import atomic_write, file_sha256, keep_earlier, write_checkpoint, write_json
from condseg_monai.engines.flags import read_flag
from condseg_monai.engines.guarded_trainer import GuardedTrainer, NonFiniteLossError
from condseg_monai.engines.inference_cases import InferenceCases, InferenceError
from condseg_monai.engines.knobs import check_knobs
from condseg_monai.engines.openvino_network import OpenVINONetwork
from condseg_monai.engines.optimization import get_lr_scheduler, poly_decay, sgd_or_adam
from condseg_monai.engines.panels import RegionPanel, ViewPanel
from condseg_monai.engines.precision_inferer import PrecisionInferer
from condseg_monai.engines.prediction_writer import DrawOverlayd, PredictionWriter
from condseg_monai.engines.prepare_batch import ConsistencyReinforcementPrepareBatch
from condseg_monai.engines.region_inferer import RegionInferer, SplitUncertaintyd
from condseg_monai.engines.run_record import RunRecord, current_parser, knob_values
from condseg_monai.engines.score_report import ScoreReport
from condseg_monai.engines.semi_supervised import (
    SemiSupervisedPrepareBatch,
    SemiSupervisedTrainer,
    consistency_rampup,
)
from condseg_monai.engines.stage_handover import start_from_stage1
from condseg_monai.engines.training_scalars import TrainingScalars
from condseg_monai.engines.training_state import TrainingState
from condseg_monai.engines.volume_files import SCORE_FORMATS, score_volume_writer, write_label_volume
from condseg_monai.engines.volume_inference import VolumeInference
from condseg_monai.engines.volume_inferer import RESIZINGS, VolumeInferer, keep_largest_components
from condseg_monai.engines.write_queue import WriteQueue

__all__ = [
    "RESIZINGS",
    "SCORE_FORMATS",
    "SNOMED_CODES",
    "AtomicCheckpointSaver",
    "ConsistencyReinforcementPrepareBatch",
    "DrawOverlayd",
    "EarlyStop",
    "EvaluationCases",
    "EvaluationError",
    "FastInference",
    "GuardedTrainer",
    "InferenceCases",
    "InferenceError",
    "NonFiniteLossError",
    "OpenVINONetwork",
    "PrecisionInferer",
    "PredictionWriter",
    "RegionInferer",
    "RegionPanel",
    "RunRecord",
    "ScoreReport",
    "SemiSupervisedPrepareBatch",
    "SemiSupervisedTrainer",
    "SplitUncertaintyd",
    "TrainingScalars",
    "TrainingState",
    "ViewPanel",
    "VolumeInference",
    "VolumeInferer",
    "WriteQueue",
    "atomic_write",
    "check_knobs",
    "consistency_rampup",
    "current_parser",
    "describe_environment",
    "file_sha256",
    "get_lr_scheduler",
    "keep_earlier",
    "keep_largest_components",
    "knob_values",
    "poly_decay",
    "read_flag",
    "score_volume_writer",
    "sgd_or_adam",
    "start_from_stage1",
    "use_channels_last",
    "write_checkpoint",
    "write_dicom_seg",
    "write_json",
    "write_label_volume",
]
