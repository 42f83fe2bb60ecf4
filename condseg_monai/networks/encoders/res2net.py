"""Res2Net-50 v1b, 26w x 4s."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.networks.checkpointing import CheckpointedSequential
from condseg_monai.networks.encoders.encoder import Encoder

__all__ = ["Res2NetEncoder"]

_SPLITS = 4
_WIDTH = 26  # channels of a split, for 64 planes
_EXPANSION = 4
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # planes and blocks


class Res2NetEncoder(Encoder):
    """Res2Net-50 v1b with 26 channels in each of 4 splits, under the parameter names its authors use.

    Source: S. Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", TPAMI 2021. Version 1b has a stem of
    three 3x3 convolutions, and shortcuts that pool before their 1x1 convolution.

    The maps are those of the stem before max-pooling (stride 2), ``layer1`` (4), ``layer2`` (8) and ``layer3`` (16),
    and with ``last_stage`` a fifth, of ``layer4`` (32), which :class:`~condseg_monai.DECSeg` uses. Weights
    start from Kaiming normal (fan out).
    """

    name = "res2net50_v1b"
    channels: tuple[int, ...] = (64, 256, 512, 1024)  # type: ignore[assignment]
    strides: tuple[int, ...] = (2, 4, 8, 16)  # type: ignore[assignment]

    def __init__(self, in_channels: int = 3, last_stage: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, 32, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, kernel_size=3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _stage(0)
        self.layer2 = _stage(1)
        self.layer3 = _stage(2)
        self.last_stage = last_stage
        if last_stage:
            self.channels, self.strides = (64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32)
        self.layer4 = _stage(3) if last_stage else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to maps at strides 2, 4, 8, 16 and, with ``last_stage``, 32."""
        f1 = F.relu(self.bn1(self.conv1(x)))
        f2 = self.layer1(self.maxpool(f1))
        f3 = self.layer2(f2)
        f4 = self.layer3(f3)
        maps = [f1, f2, f3, f4]
        if self.last_stage:
            maps.append(self.layer4(f4))
        return maps


def _stage(index: int) -> CheckpointedSequential:
    planes, blocks = _STAGES[index]
    in_channels = 64 if index == 0 else _STAGES[index - 1][0] * _EXPANSION
    first = _Bottle2neck(in_channels, planes, 1 if index == 0 else 2, first=True)
    return CheckpointedSequential(first, *(_Bottle2neck(planes * _EXPANSION, planes) for _ in range(blocks - 1)))


class _Bottle2neck(nn.Module):
    """A bottleneck whose 3x3 convolution is four splits: each but the last convolved, with the split before added.

    The first block of a stage adds nothing, and pools its last split.
    """

    def __init__(self, in_channels: int, planes: int, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        width, out_channels = _WIDTH * planes // 64, planes * _EXPANSION
        self.first = first
        self.conv1 = nn.Conv2d(in_channels, _SPLITS * width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_SPLITS * width)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False) for _ in range(_SPLITS - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(_SPLITS - 1))
        self.pool = nn.AvgPool2d(kernel_size=3, stride=stride, padding=1) if first else nn.Identity()
        self.conv3 = nn.Conv2d(_SPLITS * width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            nn.Sequential(
                nn.AvgPool2d(kernel_size=stride, stride=stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if first
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        splits = F.relu(self.bn1(self.conv1(x))).chunk(4, dim=1)
        # Indices, not a loop: TorchScript calls the members of a list by constant index only.
        y0 = F.relu(self.bns[0](self.convs[0](splits[0])))
        y1 = F.relu(self.bns[1](self.convs[1](splits[1] if self.first else y0 + splits[1])))
        y2 = F.relu(self.bns[2](self.convs[2](splits[2] if self.first else y1 + splits[2])))
        y = self.conv3(torch.cat([y0, y1, y2, self.pool(splits[3])], dim=1))
        return F.relu(self.bn3(y) + self.downsample(x))
