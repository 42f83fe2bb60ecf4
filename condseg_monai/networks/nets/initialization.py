"""Initial weights of everything after the encoder."""

from __future__ import annotations

from typing import cast

from monai.networks.blocks import Convolution
from torch import nn

__all__ = ["initialize_decoder"]


def initialize_decoder(network: nn.Module) -> None:
    """Draw convolutions that feed a BatchNorm from Kaiming normal (fan out) and set the biases of plain ones to zero.

    The encoder, an attribute of that name, keeps its own weights.
    """
    for name, module in network.named_modules():
        if name == "encoder" or name.startswith("encoder."):
            continue
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, Convolution):
            conv = cast(nn.Conv2d, module.get_submodule("conv"))
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
