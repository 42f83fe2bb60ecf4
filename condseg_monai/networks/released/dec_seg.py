"""Released DEC-Seg checkpoints: how their keys translate, and how two logits become one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DEC_SEG_GENERATOR_KEYS", "DEC_SEG_KEYS", "merge_binary_logits"]

_DECODER = {"decoder.0": "full_decoder", "decoder.1": "down_decoder", "main_decoder": "fused_decoder"}
_DCF = {"1_1": "full1", "2_1": "down1", "1_2": "full2", "2_2": "down2", "3": "gate"}

DEC_SEG_KEYS = (
    (r"^encoder\.resnet\.fc\.(weight|bias)$", ""),  # the ImageNet classifier: carried, and never called
    (r"^encoder\.resnet\.", "encoder."),
    (r"^encoder\.CFA([1-4])\.", lambda m: f"cfas.{int(m[1]) - 1}."),
    (r"^(cfas\.\d)\.conv1x1_1\.", r"\1.reduce."),
    (r"^(cfas\.\d)\.conv1x1_2\.", r"\1.reduce_deeper."),
    (r"^(cfas\.\d)\.conv3x3_1\.", r"\1.join."),
    (r"^(cfas\.\d)\.conv3x3_2\.", r"\1.output."),
    (r"^(cfas\.\d)\.GAP\.global_att\.([12])\.", lambda m: f"{m[1]}.gate.1.{int(m[2]) - 1}."),
    (r"^(cfas\.\d)\.GAP\.global_att\.([45])\.", lambda m: f"{m[1]}.gate.2.{int(m[2]) - 4}."),
    (r"^main_decoder\.dcf_out([1-5])\.CBR(\d(?:_\d)?)\.", lambda m: f"dcfs.{5 - int(m[1])}.{_DCF[m[2]]}."),
    (r"^(decoder\.[01]|main_decoder)\.", lambda m: f"{_DECODER[m[1]]}."),
    (r"_decoder\.out_conv\.", "_decoder.logits."),
    (r"_decoder\.conv\.double_conv\.", "_decoder.deepest."),
    (r"_decoder\.up([1-4])\.conv0\.", lambda m: f"_decoder.steps.{int(m[1]) - 1}.up."),
    (r"_decoder\.up([1-4])\.conv1\.double_conv\.", lambda m: f"_decoder.steps.{int(m[1]) - 1}.conv."),
    (
        r"(deepest|steps\.\d\.conv)\.([0134])\.",
        lambda m: f"{m[1]}.{int(m[2]) // 3}.{'adn.N' if int(m[2]) % 3 else 'conv'}.",
    ),
    (
        r"^((?:cfas|dcfs)\.\d\.(?:reduce|reduce_deeper|join|output|gate\.[12]|full[12]|down[12]|gate))\.([01])\.",
        lambda m: f"{m[1]}.{'adn.N' if m[2] == '1' else 'conv'}.",
    ),
)
"""Released key -> ours, applied in order; an empty one is not needed."""

DEC_SEG_GENERATOR_KEYS = (
    (r"^in_conv\.conv_conv\.", "input."),
    (r"^down([1-4])\.maxpool_conv\.1\.conv_conv\.", lambda m: f"downs.{int(m[1]) - 1}.1."),
    (r"^up([1-4])\.up\.", lambda m: f"ups.{int(m[1]) - 1}.0."),
    (r"^up([1-4])\.conv\.conv_conv\.", lambda m: f"ups.{int(m[1]) - 1}.1."),
    (r"^out_conv\.", "output."),
)
"""Released key -> ours, applied in order."""


def merge_binary_logits(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn the weights of a DECSeg of two classes into those of one with a single logit, foreground minus background.

    The sigmoid of the difference is the softmax of the two, exactly.
    """
    merged = dict(state_dict)
    for key, value in state_dict.items():
        if key.endswith(("_decoder.logits.weight", "_decoder.logits.bias")):
            merged[key] = torch.sub(value[1:], value[:1])
    return merged
