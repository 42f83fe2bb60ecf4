"""Optimizers and learning-rate schedules that the training configs offer by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any

from monai.optimizers import WarmupCosineSchedule
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

__all__ = ["get_lr_scheduler", "get_optimizer", "param_groups"]


def param_groups(network: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Group a network's parameters by learning rate.

    Args:
        network: whose parameters to group.
        rates: learning rate by the name of a submodule, such as ``"encoder"``.

    Returns:
        A group for each submodule, in that order, and one of all other parameters, which has the optimizer's own rate.

    Raises:
        AttributeError: if there is no such submodule.
    """
    groups: list[dict[str, Any]] = [
        {"params": list(network.get_submodule(name).parameters()), "lr": rate} for name, rate in rates.items()
    ]
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    return [*groups, {"params": [parameter for parameter in network.parameters() if id(parameter) not in grouped]}]


def get_optimizer(
    params: Iterable[Any], lr: float, name: str = "adam", momentum: float = 0.9, weight_decay: float = 0.0
) -> Optimizer:
    """Make an optimizer by name.

    Args:
        params: parameters or groups of them.
        lr: learning rate of groups that have none.
        name: ``"adam"``, ``"adamw"`` or ``"sgd"``, in any case.
        momentum: of SGD; the others have none.
        weight_decay: added to the gradient, or, by ``"adamw"``, taken off the weights.

    Raises:
        ValueError: if the name is another.
    """
    if name.lower() == "adam":
        return Adam(params, lr=lr, weight_decay=weight_decay)
    if name.lower() == "adamw":
        return AdamW(params, lr=lr, weight_decay=weight_decay)
    if name.lower() == "sgd":
        return SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
    raise ValueError(f"optimizer_name must be adam, adamw or sgd, got {name!r}")


def get_lr_scheduler(
    name: str,
    optimizer: Optimizer,
    epochs: int,
    data_loader: Sized,
    plateau_patience: int = 30,
    val_interval: int = 1,
) -> LRScheduler:
    """A schedule for all parameter groups of an optimizer, each in proportion to its own rate.

    Args:
        name: ``"plateau"``: to a tenth after ``plateau_patience`` epochs without a higher metric; step it after each
            validation. ``"cosine"``: up to the full rate over the first twentieth of all iterations, then down to zero
            along half a cosine; step it after each. ``"poly"``: by ``(1 - step / steps) ** 0.9``, likewise.
        optimizer: its groups' current rates are the full ones.
        epochs: of the whole training.
        data_loader: its length is that of an epoch.
        plateau_patience: epochs, for ``"plateau"``.
        val_interval: epochs between validations, for ``"plateau"``.

    Returns:
        The scheduler; its state saves and loads as plain numbers.

    Raises:
        ValueError: if there is no schedule of that name.
    """
    if name == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max", patience=max(1, plateau_patience // val_interval))
    total_steps = epochs * len(data_loader)
    if name == "cosine":
        # The first iteration must not be lost to a rate of zero.
        warmup = max(1, total_steps // 20)
        return WarmupCosineSchedule(optimizer, warmup, total_steps, warmup_multiplier=1 / (warmup + 1))
    if name == "poly":
        # Not PolynomialLR, which keeps its length in its state: a run resumed with more epochs decays over all of them.
        return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total_steps) ** 0.9)
    raise ValueError(f"lr_schedule must be plateau, cosine or poly, got {name!r}")
