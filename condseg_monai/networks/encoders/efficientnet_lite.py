"""EfficientNet-lite 0, 1 and 2 without their stages at stride 32."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from condseg_monai.networks.checkpointing import CheckpointedModule
from condseg_monai.networks.encoders.encoder import Encoder

__all__ = ["EfficientNetLiteEncoder", "lite_state_dict_from_published"]

_NORM_EPS = 1e-3
_STEM_CHANNELS = 32


class _Stage(NamedTuple):
    channels: int
    blocks: int
    kernel_size: int
    stride: int
    expansion: int


def _stages(channels: tuple[int, ...], blocks: tuple[int, ...]) -> tuple[_Stage, ...]:
    layout = zip(channels, blocks, (3, 3, 5, 3, 5), (1, 2, 2, 2, 1), (1, 6, 6, 6, 6), strict=True)
    return tuple(_Stage(*values) for values in layout)


_LAYOUTS = {
    "efficientnet_lite0": _stages((16, 24, 40, 80, 112), (1, 2, 2, 3, 3)),
    "efficientnet_lite1": _stages((16, 24, 40, 80, 112), (1, 3, 3, 4, 4)),
    "efficientnet_lite2": _stages((16, 24, 48, 88, 120), (1, 3, 3, 4, 4)),
}


class EfficientNetLiteEncoder(Encoder):
    """EfficientNet-lite: inverted residuals with ReLU6 and no squeeze-and-excitation.

    Source: M. Tan, Q. Le, "EfficientNet", ICML 2019, in the lite form of TensorFlow's repository: padding is
    TensorFlow's "same", BatchNorm's epsilon 1e-3, and stem and first stage are not scaled.

    The maps are the ends of the stages at strides 2, 4, 8 and 16; the two stages at stride 32 and the classifier are
    left out. Weights start from Kaiming normal (fan out). ``name`` is ``"efficientnet_lite0"``, ``"_lite1"`` or
    ``"_lite2"``.

    The published weights expect ``(x - 127) / 128`` of RGB in 0 to 255. With them the encoder takes images less
    ImageNet's mean, over its deviation, as every other here does: ``input_scale`` and ``input_shift``, buffers that
    are 1 and 0 with random weights, bring one to the other ahead of the padding.
    """

    strides = (2, 4, 8, 16)

    def __init__(self, name: str = "efficientnet_lite0", in_channels: int = 3) -> None:
        super().__init__()
        if name not in _LAYOUTS:
            raise ValueError(f"name must be one of {sorted(_LAYOUTS)}, got {name!r}")
        self.name = name
        self.input_scale: Tensor
        self.input_shift: Tensor
        self.register_buffer("input_scale", torch.ones(in_channels, 1, 1))
        self.register_buffer("input_shift", torch.zeros(in_channels, 1, 1))
        self.stem = _convolution(in_channels, _STEM_CHANNELS, 3, stride=2)
        self.blocks = nn.ModuleList()
        ends: list[int] = []  # index of each stage's last block
        channels = _STEM_CHANNELS
        for stage in _LAYOUTS[name]:
            for i in range(stage.blocks):
                self.blocks.append(_InvertedResidual(channels, stage, stride=stage.stride if i == 0 else 1))
                channels = stage.channels
            ends.append(len(self.blocks) - 1)
        self.ends = [*ends[:3], ends[4]]  # the fourth and fifth stage have one stride
        sixteenth, eighth, quarter, half = (_LAYOUTS[name][i].channels for i in (4, 2, 1, 0))
        self.channels = (half, quarter, eighth, sixteenth)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to four maps at strides 2, 4, 8 and 16."""
        x = self.stem(x * self.input_scale + self.input_shift)
        maps: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                maps.append(x)
        return maps


class _InvertedResidual(CheckpointedModule):
    """Expand by a 1x1 convolution, filter each channel by itself, project; add the input where shapes allow."""

    def __init__(self, in_channels: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        hidden = in_channels * stage.expansion
        self.expand = _convolution(in_channels, hidden, 1) if stage.expansion > 1 else nn.Identity()
        self.depthwise = _convolution(hidden, hidden, stage.kernel_size, stride, groups=hidden)
        self.project = _convolution(hidden, stage.channels, 1, act=False)
        self.residual = stride == 1 and in_channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Convolution with TensorFlow's "same" padding, BatchNorm and, with ``act``, ReLU6.

    An encoder's maps have even sizes wherever it strides; there "same" pads one pixel less at the top and left.
    """
    before, after = (kernel_size - stride) // 2, (kernel_size - 1) // 2
    layers = nn.Sequential()
    if before != after:
        layers.add_module("pad", nn.ZeroPad2d((before, after, before, after)))
    layers.add_module(
        "conv",
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=after if before == after else 0,
            groups=groups,
            bias=False,
        ),
    )
    layers.add_module("norm", nn.BatchNorm2d(out_channels, eps=_NORM_EPS))
    if act:
        layers.add_module("act", nn.ReLU6(inplace=True))
    return layers


# Names in the published files -> names here, applied in order.
_RENAMES = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.", "blocks."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.norm."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.norm."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.norm."),
)
_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, of RGB in [0, 1]
_STD = (0.229, 0.224, 0.225)


def lite_state_dict_from_published(
    state_dict: Mapping[str, Tensor], encoder: EfficientNetLiteEncoder
) -> dict[str, Tensor]:
    """Rename published weights to those of ``encoder``, leave out what it lacks, and add its input's scale and shift.

    A first convolution of other than three channels takes the RGB one's in turn; one channel takes the mean's. Names
    that are not the published ones stay as they are.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = key
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        block = re.match(r"blocks\.(\d+)\.", name)
        if not name.startswith(("_conv_head.", "_bn1.", "_fc.")) and not (
            block and int(block[1]) >= len(encoder.blocks)
        ):
            renamed[name] = value
    if "_conv_stem.weight" in state_dict:
        in_channels = encoder.input_scale.shape[0]
        mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
        if in_channels == 1:
            mean, std = mean.mean(dim=0, keepdim=True), std.mean(dim=0, keepdim=True)
        turn = [i % len(mean) for i in range(in_channels)]
        renamed["input_scale"] = (255 * std / 128)[turn].view(-1, 1, 1)
        renamed["input_shift"] = ((255 * mean - 127) / 128)[turn].view(-1, 1, 1)
    return renamed
