"""TeLU, the activation of Med-DisSeg."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Act
from torch import Tensor, nn

__all__ = ["TeLU"]


class TeLU(nn.Module):
    """``x * tanh(exp(x))``: the identity for large ``x``, and a smooth way to zero for negative ones.

    Source: TeLU (Fernandez and Mali, 2024), in place of ReLU in Med-DisSeg's convolutions. In MONAI's ``Act`` factory
    as ``"telu"`` once a network of ``condseg_monai`` is imported.

    Example:
        >>> TeLU()(torch.tensor([-20.0, 0.0, 1.0, 100.0])).round(decimals=4).abs()
        tensor([  0.0000,   0.0000,   0.9913, 100.0000])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of ``x``'s shape and type."""
        # As the formula is written exp(x) overflows, in float16 from 11.1 on, and the gradient is 0 times infinity.
        # tanh(exp(4)) is 1 in every floating type. A literal: TorchScript reads no globals.
        # Autocast takes exp in float32: the result goes back to the type that came in, as after a ReLU.
        return x * torch.tanh(torch.exp(x.clamp(max=4.0))).to(x.dtype)


Act.add_factory_class("telu", TeLU)
