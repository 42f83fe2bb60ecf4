"""The ``python -m condseg_monai`` commands: parsing and printing."""
