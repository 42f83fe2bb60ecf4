"""Released checkpoints into our networks; every key is used or the call fails."""

from condseg_monai.checkpoints.condseg import RELEASED_MODELS, from_released
from condseg_monai.checkpoints.convert_checkpoint import convert_checkpoint

__all__ = ["RELEASED_MODELS", "convert_checkpoint", "from_released"]
