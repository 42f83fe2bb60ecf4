"""Any network that returns feature maps, as an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condseg_monai.networks.encoders.encoder import Encoder

__all__ = ["FeatureEncoder"]

_PROBE = 64  # pixels; a multiple of every stride an encoder may have


class FeatureEncoder(Encoder):
    """Adapt a network that returns a list of feature maps: timm's with ``features_only``, MONAI's, or smp's encoders.

    The network runs once on a zero image to see its maps' channels and strides; of several maps with one stride the
    last is taken. Its weights are what it comes with: ``load_encoder_weights`` takes none for it.

    Args:
        network: maps ``(B, in_channels, H, W)`` to a sequence of ``(B, C, H / stride, W / stride)``.
        in_channels: channels of the image.
        strides: of the four maps to take, each twice the one before.

    Raises:
        ValueError: if ``network`` has no map of one of the strides; the message lists those it has.

    Example:
        >>> from monai.networks.nets import EfficientNetBNFeatures
        >>> encoder = FeatureEncoder(EfficientNetBNFeatures("efficientnet-b0", pretrained=False))
        >>> encoder.channels
        (16, 24, 40, 112)
    """

    def __init__(self, network: nn.Module, in_channels: int = 3, strides: Sequence[int] = (2, 4, 8, 16)) -> None:
        super().__init__()
        training = network.training
        with torch.no_grad():
            maps = network.eval()(torch.zeros(1, in_channels, _PROBE, _PROBE))
        network.train(training)
        index = {_PROBE // m.shape[2]: i for i, m in enumerate(maps)}
        if not set(strides) <= index.keys() or len(strides) != 4:
            raise ValueError(f"strides must be four of those that network has, {sorted(index)}, got {tuple(strides)}")
        self.network = network
        self.strides = (strides[0], strides[1], strides[2], strides[3])
        self.indices = [index[stride] for stride in strides]
        half, quarter, eighth, sixteenth = (maps[i].shape[1] for i in self.indices)
        self.channels = (half, quarter, eighth, sixteenth)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to the four maps."""
        maps = self.network(x)
        return [maps[i] for i in self.indices]
