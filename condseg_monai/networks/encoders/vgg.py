"""VGG-19."""

from __future__ import annotations

from torch import Tensor, nn

from condseg_monai.networks.encoders.encoder import Encoder

__all__ = ["VGGEncoder"]

_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions between two max-poolings


class VGGEncoder(Encoder):
    """VGG-19 without BatchNorm, under the parameter names torchvision uses (``features.N``).

    The maps are the last of the convolution stages two to five, before their max-pooling. Weights start from Kaiming
    normal (fan out), biases from zero.
    """

    name = "vgg19"
    channels = (128, 256, 512, 512)
    strides = (2, 4, 8, 16)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.ends: list[int] = []  # index of each stage's last activation
        channels = in_channels
        for stage, (width, convs) in enumerate(_STAGES):
            if stage > 0:
                self.features.append(nn.MaxPool2d(kernel_size=2, stride=2))
            for _ in range(convs):
                conv = nn.Conv2d(channels, width, kernel_size=3, padding=1)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)
                self.features.extend([conv, nn.ReLU(inplace=True)])
                channels = width
            self.ends.append(len(self.features) - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to four maps at strides 2, 4, 8 and 16."""
        maps: list[Tensor] = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                maps.append(x)
        return maps[1:]
