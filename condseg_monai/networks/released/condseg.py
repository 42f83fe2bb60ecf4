"""Released checkpoints into our networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from condseg_monai.networks.encoders.pvt import pvt_state_dict_from_published
from condseg_monai.networks.nets import ImageGenerator
from condseg_monai.networks.nets.condseg import ConDSeg
from condseg_monai.networks.nets.condseg_stage1 import ConDSegStage1
from condseg_monai.networks.nets.dec_seg import DECSeg
from condseg_monai.networks.nets.med_disseg import MedDisSeg, MedDisSegStage1
from condseg_monai.networks.released.dec_seg import DEC_SEG_GENERATOR_KEYS, DEC_SEG_KEYS
from condseg_monai.networks.state_dicts import name_keys

__all__ = ["RELEASED_MODELS", "from_released"]

# Released name -> our name, applied in order to the whole key. "CBR", and with TeLU "CBT", is conv.0 and conv.1 there,
# conv and adn.N here.
_CBR = (
    (r"\.conv\.0\.", ".conv."),
    (r"\.conv\.1\.", ".adn.N."),
)
_RESNET = (
    (r"^layer0\.0\.", "encoder.conv1."),
    (r"^layer0\.1\.", "encoder.bn1."),
    (r"^layer1\.1\.", "encoder.layer1."),
    (r"^layer([23])\.", r"encoder.layer\1."),
)
_STAGE1 = (
    *_RESNET,
    (r"^head\.conv_fuse\.", "fuse."),
    (r"^head\.conv([1-4])\.conv\.0\.", lambda m: f"levels.{int(m[1]) - 1}.conv."),
    (r"^head\.conv([1-4])\.conv\.1\.", lambda m: f"levels.{int(m[1]) - 1}.norm."),
    (r"^head\.att([1-4])\.", lambda m: f"levels.{int(m[1]) - 1}.attention."),
    (r"\.attention\.fc\.([02])\.", lambda m: f".attention.fc{int(m[1]) // 2 + 1}."),
    (r"\.attention\.spatial_conv([123])\.", lambda m: f".attention.ranges.{int(m[1]) - 1}."),
    (r"\.attention\.spatial_fuse\.", ".attention.fuse."),
)
_REGION = {"fg": "foreground", "bg": "background", "uc": "uncertainty"}
_STAGE2 = (
    *_RESNET,
    (r"^dconv([1-4])\.", lambda m: f"pre_enhancements.{int(m[1]) - 1}."),
    (r"^(pre_enhancements\.\d)\.c([1-4])\.", lambda m: f"{m[1]}.branches.{int(m[2]) - 1}."),
    (r"^(pre_enhancements\.\d)\.c5\.", r"\1.fuse."),
    (r"^(pre_enhancements\.\d)\.c6\.", r"\1.shortcut."),
    (r"^decouple_layer\.cb[rt]_(fg|bg|uc)\.", lambda m: f"sid.{_REGION[m[1]]}."),
    (r"^aux_head\.branch_(fg|bg|uc)\.(\d+)\.(weight|bias)$", lambda m: f"{_REGION[m[1]]}_head.logits.{m[3]}"),
    (r"^aux_head\.branch_(fg|bg|uc)\.(\d+)\.", lambda m: f"{_REGION[m[1]]}_head.convs.{int(m[2]) // 2}."),
    (r"^preprocess_(fg|bg)([1-4])\.c1\.", lambda m: f"{_REGION[m[1]]}_features.{int(m[2]) - 1}.convs.0."),
    (
        r"^preprocess_(fg|bg)([1-4])\.preprocess\.conv_(\d)\.",
        lambda m: f"{_REGION[m[1]]}_features.{int(m[2]) - 1}.convs.{int(m[3]) + 1}.",
    ),
    (r"^cdfa([1-4])\.", lambda m: f"cdfas.{int(m[1]) - 1}."),
    (r"^(cdfas\.\d)\.v\.", r"\1.value."),
    (r"^(cdfas\.\d)\.attn_(fg|bg)\.", lambda m: f"{m[1]}.{_REGION[m[2]]}_attention."),
    (r"^(cdfas\.\d)\.proj\.", r"\1.projection."),
    (r"^(cdfas\.\d)\.(in|out)put_cb[rt]\.", r"\1.\2put."),
    (r"^decoder_small\.", "small_decoder."),
    (r"^decoder_middle\.", "medium_decoder."),
    (r"^decoder_large\.", "large_decoder."),
    (r"^(\w+_decoder)\.c1\.", r"\1.merge."),
    (r"^(\w+_decoder)\.c([234])\.", lambda m: f"{m[1]}.conv{int(m[2]) - 1}."),
    (r"\.cbam\.channel_mlp\.([24])\.", lambda m: f".cbam.channel_attention.fc{int(m[1]) // 2}."),
    (r"\.cbam\.spatial_conv\.", ".cbam.spatial_attention.conv."),
    (r"\.ca\.", ".channel_attention."),
    (r"\.sa\.conv1\.", ".spatial_attention.conv."),
    (r"^output_block\.c3\.", "output.logits."),
    (r"^output_block\.c([12])\.", r"output.conv\1."),
    (r"^output_block\.", "output."),
    *_CBR,
)


def _empty(build: Callable[[], nn.Module]) -> nn.Module:
    """A network without drawn weights, which for some hundred million numbers takes longer than all else."""
    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu")


_Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
RELEASED_MODELS: dict[str, tuple[Callable[[], nn.Module], _Rules]] = {
    "condseg_stage1": (ConDSegStage1, _STAGE1),
    "condseg_stage2": (lambda: ConDSeg(cdfa="released"), _STAGE2),
    "condseg_pvt": (lambda: ConDSeg(encoder="pvt_v2_b2", cdfa="released"), _STAGE2),
    "dec_seg": (lambda: _empty(lambda: DECSeg(out_channels=2)), DEC_SEG_KEYS),
    "dec_seg_generator": (lambda: ImageGenerator(in_channels=2), DEC_SEG_GENERATOR_KEYS),
    "med_disseg_stage1": (MedDisSegStage1, _STAGE1),
    "med_disseg_stage2": (lambda: MedDisSeg(cdfa="released"), _STAGE2),
}
"""Released models by name: how to build ours, and how their keys translate."""


def from_released(state_dict: Mapping[str, Tensor], model: str) -> nn.Module:
    """Build our network from a released checkpoint's ``state_dict``.

    The network expects the input the checkpoint was trained on: BGR in [0, 1], without mean and standard deviation
    (``normalization="released"`` in the bundle). Its outputs are logits; the released networks end in a sigmoid.

    Args:
        state_dict: released keys and tensors.
        model: a key of :data:`RELEASED_MODELS`.

    Returns:
        That model's network in evaluation mode.

    Raises:
        ValueError: if ``model`` is unknown, or unless every released key is used and every one of ours filled with its
            shape; the message names the keys.
    """
    if model not in RELEASED_MODELS:
        raise ValueError(f"model must be one of {', '.join(RELEASED_MODELS)}, got {model!r}")
    build, rules = RELEASED_MODELS[model]
    network = build()
    expected = network.state_dict()
    source, converted = _translate(state_dict, rules)

    unknown = {source[key] for key in converted.keys() - expected.keys()}
    missing = expected.keys() - converted.keys()
    shapes = []
    for key in sorted(expected.keys() & converted.keys()):
        if converted[key].ndim == 2 and expected[key].ndim == 4:  # a linear layer there, a 1x1 convolution here
            converted[key] = converted[key][:, :, None, None]
        if converted[key].shape != expected[key].shape:
            shapes.append(f"{source[key]} {tuple(converted[key].shape)} instead of {tuple(expected[key].shape)}")
    if unknown or missing or shapes:
        raise ValueError(
            f"this is not a released {model} checkpoint: released keys without a use {name_keys(unknown)}, "
            f"parameters left without a value {name_keys(missing)}, other shapes {name_keys(shapes)}"
        )
    network.load_state_dict(converted)
    return network.eval()


def _translate(state_dict: Mapping[str, Tensor], rules: _Rules) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Our key -> released key, and our key -> tensor."""
    source: dict[str, str] = {}
    converted: dict[str, Tensor] = {}
    for released, value in state_dict.items():
        named: dict[str, Tensor]
        if released.startswith("backbone."):
            inner = pvt_state_dict_from_published({released.removeprefix("backbone."): value})
            named = {f"encoder.backbone.{key}": tensor for key, tensor in inner.items()}
        else:
            key = released
            for pattern, replacement in rules:
                key = re.sub(pattern, replacement, key)
            named = {key: value} if key else {}  # the rules say what a released network carries and never calls
        for key, tensor in named.items():
            if key in converted:
                raise ValueError(f"{source[key]} and {released} both translate to {key}")
            source[key], converted[key] = released, tensor
    return source, converted
