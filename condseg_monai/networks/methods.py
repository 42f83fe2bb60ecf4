"""Methods by name: the network of each, and the options of the configs that shape it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from condseg_monai.networks.model_card import ModelCard
from condseg_monai.networks.nets import ConDSeg, ConDSegBaseline, ConDSegStage1, DECSeg, MedDisSeg, MedDisSegStage1
from condseg_monai.networks.nets.unet import FlexibleUNet, UNetPlusPlus, attention_unet, baseline_unet
from condseg_monai.networks.state_dicts import describe_differences

__all__ = ["METHODS", "Method", "describes", "network_of"]


class Method(NamedTuple):
    """A network and what is asked about it.

    Attributes:
        network: takes ``in_channels``, ``out_channels`` and :attr:`options`.
        options: of the configs, with the method's defaults; all networks take ``norm`` too.
        image_size: of weights that nothing else is known of.
    """

    network: Callable[..., nn.Module]
    options: Mapping[str, Any]
    image_size: int = 256


_STAGE1 = {"encoder": "resnet50"}
_STAGE2 = {
    "encoder": "resnet50",
    "decoder_channels": 128,
    "cdfa": "paper",
    "cdfa_window": 3,
    "decoders": 3,
    "dilation_scale": 1.0,
}
_BASELINE = {"encoder": "resnet50", "decoder_channels": 128, "dilation_scale": 1.0}
_DEC_SEG = {"encoder": "res2net50_v1b", "cfa": True, "down_scale": True, "dcf": True}
METHODS = {
    "condseg": Method(ConDSeg, _STAGE2),
    "condseg_baseline": Method(ConDSegBaseline, _BASELINE),
    "condseg_stage1": Method(ConDSegStage1, _STAGE1),
    "med_disseg": Method(MedDisSeg, {**_STAGE2, "cbat": True}),
    "med_disseg_stage1": Method(MedDisSegStage1, {**_STAGE1, "elat": True}),
    "dec_seg": Method(DECSeg, _DEC_SEG, image_size=352),
    "flexible_unet": Method(FlexibleUNet, {"encoder": "resnet50", "decoder_channels": 32}),
    "unet": Method(baseline_unet, {"decoder_channels": 128}),
    "unet_plus_plus": Method(UNetPlusPlus, {"decoder_channels": 32}),
    "attention_unet": Method(attention_unet, {"decoder_channels": 64}),
}
"""Every method, by the name that model cards have."""


def network_of(card: ModelCard, **arguments: Any) -> nn.Module:
    """Build the network that a model card describes, with random weights.

    Args:
        card: of a checkpoint.
        **arguments: of the network, added to the card's or in their place.

    Raises:
        ValueError: if the card is of a network that is none of :data:`METHODS`, or lacks an argument of it or has
            another.
    """
    if card.method not in METHODS:
        raise ValueError(
            f"the model card says that its network is none of {', '.join(METHODS)} ({card.method!r}), so it cannot be "
            "built from the card; build it yourself, or give the config your network_def"
        )
    method = METHODS[card.method]
    names = {"in_channels", "out_channels", *method.options}
    if wrong := sorted(names ^ (card.network.keys() - {"norm"})):  # a card says it if it is not BatchNorm
        raise ValueError(
            f"the model card's network must have {', '.join(sorted(names))}, as {card.method} is made of, but "
            f"{wrong[0]} is {'no argument of it' if wrong[0] in card.network else 'missing'}: take the card that came "
            "with the weights"
        )
    return method.network(**{**card.network, **arguments})


def describes(card: ModelCard, state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the network that a card describes has the keys and shapes of a state_dict (but for class names)."""
    with torch.device("meta"):
        expected = network_of(card).state_dict()
    names = "class_names"
    found = {key: value for key, value in state_dict.items() if key != names}
    return not describe_differences(found, {key: value for key, value in expected.items() if key != names})
