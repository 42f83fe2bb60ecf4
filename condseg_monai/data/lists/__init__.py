"""Datalists: which image belongs to which mask and split, published splits, samplers."""
