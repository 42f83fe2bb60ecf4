"""Released checkpoints into our networks; every key is used or the call fails."""

from condseg_monai.checkpoints.condseg import RELEASED_MODELS, from_released

__all__ = ["RELEASED_MODELS", "from_released"]
