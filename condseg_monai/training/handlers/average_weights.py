"""Exponential moving average of a network's weights."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

__all__ = ["AverageWeights", "average_of", "inner_network"]


def average_of(network: nn.Module, decay: float | None) -> AveragedModel | None:
    """A copy of a network for the exponential moving average of its parameters and BatchNorm statistics.

    After n steps the average keeps ``min(decay, (1 + n) / (10 + n))`` of itself, so that it follows the fast changes at
    the start of a training; the first step copies the network.

    Args:
        network: what is trained; of a distributed one, the network inside.
        decay: share that the average keeps in each step, in [0, 1); None for no average.

    Returns:
        PyTorch's ``AveragedModel``, whose ``module`` is the averaged network; None if ``decay`` is.

    Raises:
        ValueError: if ``decay`` is out of range.
    """
    if decay is None:
        return None
    if not 0 <= decay < 1:
        raise ValueError(f"ema_decay must be in [0, 1) or null, got {decay}")

    def average(averaged: Any, current: Any, steps: Tensor | int) -> None:
        share = 1 - min(decay, (1 + float(steps)) / (10 + float(steps)))
        for old, new in zip(averaged, current, strict=True):
            old.lerp_(new.to(old), share) if old.is_floating_point() else old.copy_(new)

    return AveragedModel(inner_network(network), multi_avg_fn=torch.no_grad()(average), use_buffers=True)


class AverageWeights:
    """Update an average after each step of a trainer.

    Args:
        average: as :func:`average_of` returns it.
        network: what is trained.
    """

    def __init__(self, average: AveragedModel, network: nn.Module) -> None:
        self.average = average
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Update at the end of each iteration of ``engine``, a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Take the network's present weights into the average."""
        self.average.update_parameters(inner_network(self.network))


def inner_network(network: nn.Module) -> nn.Module:
    """The network without what trains it on several GPUs."""
    return network.module if isinstance(network, (DataParallel, DistributedDataParallel)) else network
