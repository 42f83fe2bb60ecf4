"""The learning-rate schedules that the training configs offer by name."""

from __future__ import annotations

from monai.optimizers import WarmupCosineSchedule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

__all__ = ["get_lr_scheduler"]

SCHEDULES = ("plateau", "cosine")


def get_lr_scheduler(name: str, optimizer: Optimizer, patience: int, total_steps: int) -> LRScheduler:
    """A schedule for all parameter groups of an optimizer, each in proportion to its own rate.

    Args:
        name: ``"plateau"``: to a tenth after ``patience`` steps without a higher metric; step it after each validation.
            ``"cosine"``: up to the full rate over the first twentieth of ``total_steps``, then down to zero along half
            a cosine; step it after each iteration.
        optimizer: its groups' current rates are the full ones.
        patience: validations, for ``"plateau"``.
        total_steps: iterations of the whole training, for ``"cosine"``.

    Returns:
        The scheduler; its state saves and loads as plain numbers.

    Raises:
        ValueError: if there is no schedule of that name.
    """
    if name == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max", patience=patience)
    if name == "cosine":
        # The first iteration must not be lost to a rate of zero.
        warmup = max(1, total_steps // 20)
        return WarmupCosineSchedule(optimizer, warmup, total_steps, warmup_multiplier=1 / (warmup + 1))
    raise ValueError(f"lr_schedule must be one of {SCHEDULES}, got {name!r}")
