"""The version of condseg_monai, read by setup.cfg without importing torch."""

__version__ = "0.4.0"
