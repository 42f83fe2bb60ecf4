"""The one contract every encoder keeps."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Map an image to four feature maps, fine to coarse, each at twice the stride of the one before.

    A subclass sets ``channels`` and ``strides`` (``(2, 4, 8, 16)`` or ``(4, 8, 16, 32)``) of the maps and implements
    ``forward``. Its input's height and width are multiples of the last stride; the networks here pad for it.
    What is a :class:`~condseg_monai.networks.checkpointing.CheckpointedModule` in it takes part in ``checkpointing``.
    """

    name = ""  # under which its ImageNet weights are known
    # Values, not annotations: TorchScript cannot read an annotation of a tuple here.
    channels = (0, 0, 0, 0)
    strides = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to four maps ``(B, channels[i], H / strides[i], W / strides[i])``."""
        raise NotImplementedError
