"""Normalisation of feature maps: BatchNorm, of one process or of all, or GroupNorm, which needs no batch."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["set_norm", "synchronize_batch_norm"]

_GROUPS = 8


def set_norm(network: nn.Module, norm: str) -> None:
    """Replace each BatchNorm of a network by GroupNorm, in place, if ``norm`` is ``"group"``; ``"batch"`` keeps them.

    GroupNorm has up to 8 groups, of two channels and more where there are two. An image's output then depends on that
    image alone, so that any number of processes that share a batch learns the same.

    Raises:
        ValueError: if ``norm`` is neither.
    """
    if norm not in ("batch", "group"):
        raise ValueError(f"norm must be batch or group, got {norm!r}")
    if norm == "batch":
        return
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                groups = math.gcd(_GROUPS, channels)
                if groups == channels > 1:
                    groups //= 2
                setattr(module, name, nn.GroupNorm(groups, channels, eps=child.eps))


def synchronize_batch_norm(network: nn.Module, synchronize: bool = True) -> nn.Module:
    """Make a network's BatchNorm layers count the batches of all processes as one, in place, where PyTorch can.

    Parameters, buffers, epsilon and momentum stay. PyTorch has no such layer for a CPU: there the network stays as it
    is, and each process normalises by its own share.

    Args:
        network: on its device.
        synchronize: False leaves it alone.

    Returns:
        The network.
    """
    if synchronize and any(parameter.is_cuda for parameter in network.parameters()):
        converted: nn.Module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    return network
