"""Initial weights of everything after the encoder."""

from __future__ import annotations

import math
from typing import cast

import torch
from monai.networks.blocks import Convolution
from torch import nn

from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation

__all__ = ["initialize_decoder", "start_at_prior"]

_PRIOR_LOGIT = -2.0
_IDENTITY_LOGIT = 4.0


def initialize_decoder(network: nn.Module) -> None:
    """Draw convolutions that feed a BatchNorm from Kaiming normal (fan out) and set the biases of plain ones to zero.

    CDFA's attention starts close to the identity. The encoder, an attribute of that name, keeps its own weights.
    """
    for name, module in network.named_modules():
        if name == "encoder" or name.startswith("encoder."):
            continue
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, Convolution):
            conv = cast(nn.Conv2d, module.get_submodule("conv"))
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if isinstance(module, ContrastDrivenFeatureAggregation):
            _start_at_identity(module)


def start_at_prior(logits: nn.Conv2d, rare: bool = True) -> None:
    """Start a head at a prior probability, on average: 0.12 for what is ``rare``, 0.88 for what is not.

    The bias is the prior's logit (RetinaNet, ICCV 2017, section 4.1), and the weights of each output sum to zero.
    Several classes share 0.12, and the background, class 0, has 0.88.
    """
    # Lesions cover a small part of an image; a head that starts at one half spends its first epoch on learning that.
    # After BatchNorm and ReLU all features have one mean, so weights that sum to zero leave the mean logit at the bias.
    # Drawn freely, all may be negative: no logit then passes the bias, since no feature is negative, and the mask stays
    # empty.
    with torch.no_grad():
        logits.weight -= logits.weight.mean(dim=1, keepdim=True)
    bias = cast(nn.Parameter, logits.bias)
    if logits.out_channels == 1:
        nn.init.constant_(bias, _PRIOR_LOGIT if rare else -_PRIOR_LOGIT)
        return
    nn.init.zeros_(bias)
    with torch.no_grad():
        bias[0] = math.log(logits.out_channels - 1) - _PRIOR_LOGIT


def _start_at_identity(cdfa: ContrastDrivenFeatureAggregation) -> None:
    # Each window position weighs itself by e**4 to 1 against each other. A uniform softmax would make every CDFA a blur
    # over 2 * window - 1 pixels, which short trainings have to unlearn first.
    positions = cdfa.window * cdfa.window
    identity = torch.eye(positions).mul_(_IDENTITY_LOGIT / cdfa.scale).flatten().repeat(cdfa.heads)
    for attention in (cdfa.foreground_attention, cdfa.background_attention):
        bias = cast(nn.Parameter, attention.bias)
        with torch.no_grad():
            bias.copy_(identity)
