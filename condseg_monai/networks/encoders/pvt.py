"""Pyramid Vision Transformer v2, b2."""

from __future__ import annotations

import re
from collections.abc import Mapping

from monai.utils import optional_import
from torch import Tensor, nn

from condseg_monai.networks.encoders.encoder import Encoder

__all__ = ["PVTv2Encoder", "pvt_state_dict_from_published"]


class PVTv2Encoder(Encoder):
    """PVTv2-b2 from the ``transformers`` library (``pip install "condseg_monai[pvt]"``, else ImportError).

    The maps are the four stages, normalised. Weights start from the library's: normal with standard deviation 0.02.
    """

    name = "pvt_v2_b2"
    channels = (64, 128, 320, 512)
    strides = (4, 8, 16, 32)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        transformers, found = optional_import("transformers")
        if not found:
            raise ImportError('encoder "pvt_v2_b2" needs transformers: pip install "condseg_monai[pvt]"')
        config = transformers.PvtV2Config(
            num_channels=in_channels,
            depths=[3, 4, 6, 3],
            hidden_sizes=list(self.channels),
            num_attention_heads=[1, 2, 5, 8],
            mlp_ratios=[8, 8, 4, 4],
            sr_ratios=[8, 4, 2, 1],
            drop_path_rate=0.1,
            layer_norm_eps=1e-6,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        self.backbone = transformers.PvtV2Backbone(config)
        # The published weights were trained with 1e-5 in patch embedding and spatial reduction, 1e-6 elsewhere.
        for name, module in self.backbone.named_modules():
            if isinstance(module, nn.LayerNorm) and name.endswith(
                ("patch_embedding.layer_norm", "attention.layer_norm")
            ):
                module.eps = 1e-5

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, in_channels, H, W)`` to four maps at strides 4, 8, 16 and 32."""
        return list(self.backbone(x).feature_maps)


# Names in the published weights -> names in transformers, applied in order.
_RENAMES = (
    (r"^patch_embed(\d)\.proj\.", r"encoder.layers.\1.patch_embedding.proj."),
    (r"^patch_embed(\d)\.norm\.", r"encoder.layers.\1.patch_embedding.layer_norm."),
    (r"^norm(\d)\.", r"encoder.layers.\1.layer_norm."),
    (r"^block(\d)\.(\d+)\.", r"encoder.layers.\1.blocks.\2."),
    (r"\.norm1\.", ".layer_norm_1."),
    (r"\.norm2\.", ".layer_norm_2."),
    (r"\.attn\.norm\.", ".attention.layer_norm."),
    (r"\.attn\.sr\.", ".attention.spatial_reduction."),
    (r"\.attn\.q\.", ".attention.query."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
)


def pvt_state_dict_from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of the PVTv2 authors to those of ``PVTv2Encoder.backbone``; fused key-value weights are split.

    The library's own names, ``encoder.layers...``, and keys without a counterpart stay as they are.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = key
        if not key.startswith("encoder."):
            for pattern, replacement in _RENAMES:
                name = re.sub(pattern, replacement, name)
            # Stages count from one in the published names and from zero in the library.
            name = re.sub(r"^(encoder\.layers\.)(\d)", lambda m: m[1] + str(int(m[2]) - 1), name)
        if ".attention.kv." in name:
            for part, half in zip(("key", "value"), value.chunk(2, dim=0), strict=True):
                renamed[name.replace(".kv.", f".{part}.")] = half.clone()
        else:
            renamed[name] = value
    return renamed
