"""Training: trainers, batch preparation, stage hand-over, learning-rate schedules and handlers."""

from condseg_monai.training.handlers.checkpoint_saver import AtomicCheckpointSaver
from condseg_monai.training.handlers.early_stop import EarlyStop
from condseg_monai.training.handlers.lr_schedule import LrSchedule
from condseg_monai.training.handlers.run_record import RunRecord, current_parser, knob_values
from condseg_monai.training.handlers.training_scalars import TrainingScalars
from condseg_monai.training.handlers.training_state import TrainingState
from condseg_monai.training.precision_inferer import PrecisionInferer
from condseg_monai.training.prepare_batch import ConsistencyReinforcementPrepareBatch
from condseg_monai.training.schedules import get_lr_scheduler, poly_decay, sgd_or_adam
from condseg_monai.training.semi_supervised import SemiSupervisedPrepareBatch, SemiSupervisedTrainer, consistency_rampup
from condseg_monai.training.stage_handover import start_from_stage1
from condseg_monai.training.trainer import GuardedTrainer, NonFiniteLossError

__all__ = [
    "AtomicCheckpointSaver",
    "ConsistencyReinforcementPrepareBatch",
    "EarlyStop",
    "GuardedTrainer",
    "LrSchedule",
    "NonFiniteLossError",
    "PrecisionInferer",
    "RunRecord",
    "SemiSupervisedPrepareBatch",
    "SemiSupervisedTrainer",
    "TrainingScalars",
    "TrainingState",
    "consistency_rampup",
    "current_parser",
    "get_lr_scheduler",
    "knob_values",
    "poly_decay",
    "sgd_or_adam",
    "start_from_stage1",
]
