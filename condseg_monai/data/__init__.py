"""Data sets: reading images and CT volumes, lists and splits, preparation, augmentation, synthetic data."""
