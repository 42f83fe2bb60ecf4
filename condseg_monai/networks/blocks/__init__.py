"""The paper's modules, one per file."""

from condseg_monai.networks.blocks.auxiliary_head import AuxiliaryHead
from condseg_monai.networks.blocks.cbam import CBAM
from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation, RegionFeatures
from condseg_monai.networks.blocks.cfa import CrossLevelFeatureAggregation
from condseg_monai.networks.blocks.channel_attention import ChannelAttention
from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.blocks.dcf import DualScaleComplementaryFusion
from condseg_monai.networks.blocks.elat import ELAT
from condseg_monai.networks.blocks.pre_enhancement import PreEnhancement
from condseg_monai.networks.blocks.sa_decoder import SizeAwareDecoder
from condseg_monai.networks.blocks.scale_decoder import ScaleDecoder
from condseg_monai.networks.blocks.sid import SemanticInformationDecoupling
from condseg_monai.networks.blocks.spatial_attention import SpatialAttention
from condseg_monai.networks.blocks.telu import TeLU

__all__ = [
    "CBAM",
    "ELAT",
    "AuxiliaryHead",
    "ChannelAttention",
    "ContrastDrivenFeatureAggregation",
    "CrossLevelFeatureAggregation",
    "DualScaleComplementaryFusion",
    "PreEnhancement",
    "RegionFeatures",
    "ScaleDecoder",
    "SemanticInformationDecoupling",
    "SizeAwareDecoder",
    "SpatialAttention",
    "TeLU",
    "conv_norm_act",
    "upsample",
]
