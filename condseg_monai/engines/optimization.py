"""SGD or Adam by name, and TransUNet's schedule of the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.optim import SGD, Adam, Optimizer

__all__ = ["poly_decay", "sgd_or_adam"]


def sgd_or_adam(
    params: Iterable[Any], lr: float, name: str = "sgd", momentum: float = 0.9, weight_decay: float = 1e-4
) -> Optimizer:
    """Make one of the two optimizers that trainings on Synapse use.

    Args:
        params: parameters or groups of them.
        lr: learning rate of groups that have none.
        name: ``"sgd"`` or ``"adam"``, in any case.
        momentum: of SGD; Adam has none.
        weight_decay: of both.

    Raises:
        ValueError: if the name is another.
    """
    if name.lower() == "sgd":
        return SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
    if name.lower() == "adam":
        return Adam(params, lr=lr, weight_decay=weight_decay)
    raise ValueError(f"optimizer_name must be sgd or adam, got {name!r}")


def poly_decay(total: int, power: float = 0.9) -> Callable[[int], float]:
    """Make the factor ``(1 - step / total) ** power`` of a learning rate, for ``torch.optim.lr_scheduler.LambdaLR``.

    A function, and not ``PolynomialLR``: a run that is resumed with more epochs then decays over all of them.

    Args:
        total: the step at which it reaches 0.
        power: 1 decays linearly; TransUNet has 0.9.

    Raises:
        ValueError: if ``total`` is not positive.

    Example:
        >>> [round(poly_decay(10)(step), 3) for step in (0, 5, 10, 11)]
        [1.0, 0.536, 0.0, 0.0]
    """
    if total < 1:
        raise ValueError(f"total must be positive, got {total}")
    return lambda step: max(0.0, 1 - step / total) ** power
