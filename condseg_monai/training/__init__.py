"""Training: trainers, batch preparation, stage hand-over, learning-rate schedules and handlers."""

from condseg_monai.training.distributed import handlers_of_rank
from condseg_monai.training.handlers.average_weights import AverageWeights, average_of
from condseg_monai.training.handlers.clip_gradients import ClipGradients
from condseg_monai.training.handlers.early_stop import EarlyStop
from condseg_monai.training.handlers.epoch_seed import EpochSeed
from condseg_monai.training.handlers.lr_schedule import LrSchedule
from condseg_monai.training.handlers.save_and_resume import SaveAndResume
from condseg_monai.training.handlers.training_history import TrainingHistory
from condseg_monai.training.handlers.training_progress import TrainingProgress
from condseg_monai.training.handlers.training_scalars import TrainingScalars
from condseg_monai.training.precision_inferer import PrecisionInferer
from condseg_monai.training.prepare_batch import ConsistencyReinforcementPrepareBatch
from condseg_monai.training.run_folder import RunFolder
from condseg_monai.training.schedules import get_lr_scheduler, get_optimizer, param_groups
from condseg_monai.training.semi_supervised import SemiSupervisedPrepareBatch, SemiSupervisedTrainer
from condseg_monai.training.stage_handover import start_from_model, start_from_stage1
from condseg_monai.training.tracking import EventWriter, mlflow_handler
from condseg_monai.training.trainer import GuardedTrainer

__all__ = [
    "AverageWeights",
    "ClipGradients",
    "ConsistencyReinforcementPrepareBatch",
    "EarlyStop",
    "EpochSeed",
    "EventWriter",
    "GuardedTrainer",
    "LrSchedule",
    "PrecisionInferer",
    "RunFolder",
    "SaveAndResume",
    "SemiSupervisedPrepareBatch",
    "SemiSupervisedTrainer",
    "TrainingHistory",
    "TrainingProgress",
    "TrainingScalars",
    "average_of",
    "get_lr_scheduler",
    "get_optimizer",
    "handlers_of_rank",
    "mlflow_handler",
    "param_groups",
    "start_from_model",
    "start_from_stage1",
]
