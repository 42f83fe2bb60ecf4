"""Memory format of a network's weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["use_channels_last"]


def use_channels_last(network: nn.Module, channels_last: bool) -> nn.Module:
    """Lay the weights of a network out with channels last, if asked, in place, and return the network.

    Example:
        >>> use_channels_last(nn.Conv2d(4, 4, 3), True).weight.is_contiguous(memory_format=torch.channels_last)
        True
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
