"""The papers' modules, one per file."""

from condseg_monai.networks.blocks import telu as telu  # puts "telu" into MONAI's Act factory
