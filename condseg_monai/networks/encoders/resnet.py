"""ResNet-18, -34 and -50 without their last stage."""

from __future__ import annotations

from monai.networks.nets import ResNet
from torch import Tensor

from condseg_monai.networks.checkpointing import CheckpointedSequential
from condseg_monai.networks.encoders.encoder import Encoder

__all__ = ["ResNetEncoder"]

_LAYOUTS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}


class ResNetEncoder(Encoder):
    """MONAI's ResNet in the v1.5 layout, under the parameter names torchvision uses, without ``layer4``, as released.

    The maps are those of the stem before max-pooling (stride 2), ``layer1`` (4), ``layer2`` (8) and ``layer3`` (16).
    Weights start from MONAI's: Kaiming normal (fan out). ``name`` is ``"resnet18"``, ``"resnet34"`` or ``"resnet50"``.
    """

    strides = (2, 4, 8, 16)

    def __init__(self, name: str = "resnet50", in_channels: int = 3) -> None:
        super().__init__()
        if name not in _LAYOUTS:
            raise ValueError(f"name must be one of {sorted(_LAYOUTS)}, got {name!r}")
        self.name = name
        block, layers = _LAYOUTS[name]
        # Not MONAI's presets: for 18 and 34 layers they take shortcut "A", which has no weights and detaches its input.
        resnet = ResNet(
            block=block,
            layers=list(layers),
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            shortcut_type="B",
            feed_forward=False,
            bias_downsample=False,
        )
        self.conv1, self.bn1, self.act, self.maxpool = resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool
        self.layer1 = CheckpointedSequential(*resnet.layer1)
        self.layer2 = CheckpointedSequential(*resnet.layer2)
        self.layer3 = CheckpointedSequential(*resnet.layer3)
        self.channels = (64, 256, 512, 1024) if block == "bottleneck" else (64, 64, 128, 256)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to four maps at strides 2, 4, 8 and 16."""
        f1 = self.act(self.bn1(self.conv1(x)))
        f2 = self.layer1(self.maxpool(f1))
        f3 = self.layer2(f2)
        f4 = self.layer3(f3)
        return [f1, f2, f3, f4]
