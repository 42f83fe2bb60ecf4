"""Encoders behind one contract: :class:`Encoder`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from condseg_monai.networks.encoders.efficientnet_lite import EfficientNetLiteEncoder
from condseg_monai.networks.encoders.encoder import Encoder
from condseg_monai.networks.encoders.feature_encoder import FeatureEncoder
from condseg_monai.networks.encoders.pvt import PVTv2Encoder
from condseg_monai.networks.encoders.res2net import Res2NetEncoder
from condseg_monai.networks.encoders.resnet import ResNetEncoder
from condseg_monai.networks.encoders.vgg import VGGEncoder
from condseg_monai.networks.encoders.weights import load_encoder_weights

__all__ = ["ENCODERS", "Encoder", "FeatureEncoder", "Res2NetEncoder", "get_encoder", "load_encoder_weights"]

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "resnet18": partial(ResNetEncoder, "resnet18"),
    "resnet34": partial(ResNetEncoder, "resnet34"),
    "resnet50": partial(ResNetEncoder, "resnet50"),
    "vgg19": VGGEncoder,
    "pvt_v2_b2": PVTv2Encoder,
    "res2net50_v1b": Res2NetEncoder,
    "efficientnet_lite0": partial(EfficientNetLiteEncoder, "efficientnet_lite0"),
    "efficientnet_lite1": partial(EfficientNetLiteEncoder, "efficientnet_lite1"),
    "efficientnet_lite2": partial(EfficientNetLiteEncoder, "efficientnet_lite2"),
}
"""Encoders by name; each takes ``in_channels``."""


def get_encoder(encoder: str | Encoder, in_channels: int) -> Encoder:
    """Return a new encoder by name, a key of :data:`ENCODERS`, or the given one; ValueError for other names."""
    if isinstance(encoder, Encoder):
        return encoder
    if encoder not in ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, or an Encoder, got {encoder!r}")
    return ENCODERS[encoder](in_channels=in_channels)
