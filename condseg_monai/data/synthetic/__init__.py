"""Synthetic endoscopy images and CT phantoms."""
