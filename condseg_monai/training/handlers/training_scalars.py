"""TensorBoard scalars of a training step: loss terms and learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["TrainingScalars"]


class TrainingScalars:
    """Collect the loss, each of its terms and the learning rates of a step.

    Made for the ``output_transform`` of MONAI's ``TensorBoardStatsHandler``, on a trainer with ``decollate=False``.

    Args:
        loss: the loss function; its ``terms``, if it has any, are those of its last call.
        optimizer: the optimizer whose learning rates are read.
        group_names: a name for each of the optimizer's parameter groups.

    Raises:
        ValueError: if there are not as many names as groups.

    Example:
        >>> network, loss = nn.Linear(1, 1), nn.MSELoss()
        >>> scalars = TrainingScalars(loss, torch.optim.Adam(network.parameters(), lr=0.5), ["all"])
        >>> scalars({"loss": torch.tensor(2.0)})
        {'loss/total': 2.0, 'learning_rate/all': 0.5}
    """

    def __init__(self, loss: nn.Module, optimizer: torch.optim.Optimizer, group_names: Sequence[str]) -> None:
        if len(group_names) != len(optimizer.param_groups):
            raise ValueError(
                f"group_names must name the {len(optimizer.param_groups)} parameter groups, got {list(group_names)}"
            )
        self.loss = loss
        self.optimizer = optimizer
        self.group_names = group_names

    def __call__(self, output: Mapping[str, Any]) -> dict[str, float]:
        """Return the scalars of the step that gave ``output``.

        Args:
            output: the trainer's output, with the loss under ``loss``.

        Returns:
            ``loss/total``, ``loss/{term}`` for each term, and ``learning_rate/{group}`` for each group.
        """
        scalars = {"loss/total": torch.as_tensor(output["loss"]).detach().item()}
        for name, value in getattr(self.loss, "terms", {}).items():
            scalars[f"loss/{name}"] = float(value)
        for name, group in zip(self.group_names, self.optimizer.param_groups, strict=True):
            scalars[f"learning_rate/{name}"] = float(group["lr"])
        return scalars
