"""Validation loss: the mask loss of the validation images, from the forward pass that is scored."""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric, MetricUsage
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from monai.engines import IterationEvents
from torch import Tensor

from condseg_monai.losses.mask import mask_loss

__all__ = ["ValidationLoss"]


class ValidationLoss(Metric):
    """Mean over the validation images of :func:`~condseg_monai.losses.mask.mask_loss`, on the mask's logits.

    In evaluation the networks return the logits of the mask alone: so this is the term of the mask in the training's
    loss, not all of it. It is read when the forward pass is done, before the logits become a mask.

    Args:
        lambda_ce: as of :func:`mask_loss`.
        balance: likewise.
    """

    def __init__(self, lambda_ce: float = 1.0, balance: float = 0.0) -> None:
        super().__init__(output_transform=_logits_and_label)
        self.lambda_ce = lambda_ce
        self.balance = balance

    def attach(self, engine: Engine, name: str, usage: Any = None) -> None:
        """Compute the loss of each epoch of ``engine``, one of MONAI's evaluators, as its metric ``name``."""
        events = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.FORWARD_COMPLETED)
        super().attach(engine, name, events if usage is None else usage)

    @reinit__is_reduced
    def reset(self) -> None:
        """Begin an epoch."""
        self._sum, self._number = 0.0, 0

    @reinit__is_reduced
    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Add a batch: logits ``(B, C, H, W)`` and label ``(B, 1, H, W)``."""
        logits, label = output
        self._sum += float(mask_loss(logits, label, "sum", self.lambda_ce, self.balance))
        self._number += len(logits)

    @sync_all_reduce("_sum", "_number")
    def compute(self) -> float:
        """Return the mean of the epoch, of all processes; raise ``ValueError`` if it is not finite."""
        if self._number == 0:
            raise NotComputableError("the validation has no images")
        if not math.isfinite(self._sum):  # NaN would be scored as background, and saved as the best
            raise ValueError(
                "the validation loss is not finite: the weights are too large, or precision is too narrow. The "
                "checkpoints are those from before; start anew with a lower --learning_rate, or --precision float32"
            )
        return self._sum / self._number


def _logits_and_label(output: Any) -> tuple[Tensor, Tensor]:
    return output["pred"].as_subclass(Tensor), output["label"].as_subclass(Tensor)
