"""Gradient clipping."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.engines import IterationEvents
from torch.nn.utils import clip_grad_norm_

__all__ = ["ClipGradients"]


class ClipGradients:
    """Scale the gradients of each step so that their norm, over all parameters together, is at most ``max_norm``.

    Raises:
        ValueError: if ``max_norm`` is not positive.
    """

    def __init__(self, max_norm: float) -> None:
        if not max_norm > 0:
            raise ValueError(f"gradient_clip must be positive or null, got {max_norm}")
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip between the backward pass and the optimizer's step of ``engine``, one of MONAI's trainers."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Clip, in float16 after the gradients are scaled back."""
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        clip_grad_norm_(engine.network.parameters(), self.max_norm)
