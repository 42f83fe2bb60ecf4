"""torchvision's ResNet v1.5 and VGG-19 as plain functions of a state_dict, written from their published layouts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RESNET_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
# Index of each convolution in torchvision's ``features`` -> its channels.
VGG_CONVOLUTIONS = (
    dict.fromkeys((0, 2), 64)
    | dict.fromkeys((5, 7), 128)
    | dict.fromkeys((10, 12, 14, 16), 256)
    | dict.fromkeys((19, 21, 23, 25, 28, 30, 32, 34), 512)
)


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """Every key of torchvision's file with its shape."""
    if name == "vgg19":
        return vgg19_shapes()
    bottleneck = name == "resnet50"
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}
    channels = 64
    for stage, blocks in enumerate(RESNET_BLOCKS[name], 1):
        width = 64 * 2 ** (stage - 1)
        out = 4 * width if bottleneck else width
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            kernels = ((1, channels, width), (3, width, width), (1, width, out))
            for i, (kernel, c_in, c_out) in enumerate(
                kernels if bottleneck else ((3, channels, width), (3, width, width)), 1
            ):
                shapes[f"{prefix}.conv{i}.weight"] = (c_out, c_in, kernel, kernel)
                shapes |= norm_shapes(f"{prefix}.bn{i}", c_out)
            if block == 0 and (stage > 1 or channels != out):
                shapes[f"{prefix}.downsample.0.weight"] = (out, channels, 1, 1)
                shapes |= norm_shapes(f"{prefix}.downsample.1", out)
            channels = out
    return {**shapes, "fc.weight": (1000, channels), "fc.bias": (1000,)}


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def vgg19_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for index, width in VGG_CONVOLUTIONS.items():
        shapes |= {f"features.{index}.weight": (width, channels, 3, 3), f"features.{index}.bias": (width,)}
        channels = width
    for index, (n_in, n_out) in {0: (25088, 4096), 3: (4096, 4096), 6: (4096, 1000)}.items():
        shapes |= {f"classifier.{index}.weight": (n_out, n_in), f"classifier.{index}.bias": (n_out,)}
    return shapes


def draw(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights for ``shapes``; the classifier's, which nothing uses, are zeros of one stored number."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        if key.startswith(("fc.", "classifier.", "layer4.")):
            weights[key] = torch.zeros(()).expand(shape)
        elif key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(7)
        elif len(shape) == 4:
            weights[key] = torch.randn(shape, generator=generator) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        else:
            weights[key] = torch.rand(shape, generator=generator) * 0.5 + 0.5
    return weights


def features_of(weights: dict[str, Tensor], name: str, x: Tensor) -> list[Tensor]:
    """ResNet's stem before max-pooling and first three stages, or VGG's last four, in evaluation mode."""
    if name == "vgg19":
        return vgg19_features(weights, x)
    x = F.relu(norm(weights, "bn1", F.conv2d(x, weights["conv1.weight"], stride=2, padding=3)))
    maps = [x]
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (1, 2, 3):
        for block in range(RESNET_BLOCKS[name][stage - 1]):
            x = resnet_block(weights, f"layer{stage}.{block}", x, 2 if stage > 1 and block == 0 else 1)
        maps.append(x)
    return maps


def resnet_block(weights: dict[str, Tensor], prefix: str, x: Tensor, stride: int) -> Tensor:
    convolutions = 3 if f"{prefix}.conv3.weight" in weights else 2
    strided = 2 if convolutions == 3 else 1  # v1.5: a bottleneck strides in its 3x3 convolution
    out = x
    for i in range(1, convolutions + 1):
        weight = weights[f"{prefix}.conv{i}.weight"]
        out = F.conv2d(out, weight, stride=stride if i == strided else 1, padding=weight.shape[-1] // 2)
        out = norm(weights, f"{prefix}.bn{i}", out)
        out = F.relu(out) if i < convolutions else out
    if f"{prefix}.downsample.0.weight" in weights:
        x = norm(
            weights, f"{prefix}.downsample.1", F.conv2d(x, weights[f"{prefix}.downsample.0.weight"], stride=stride)
        )
    return F.relu(out + x)


def norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    leaves = [weights[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *leaves)


def vgg19_features(weights: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The last activations before the second to the fifth max-pooling."""
    features = []
    for index in range(37):
        if index in (4, 9, 18, 27, 36):
            features.append(x)
            x = F.max_pool2d(x, 2)
        elif index in VGG_CONVOLUTIONS:
            x = F.relu(F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1))
    return features[1:]
