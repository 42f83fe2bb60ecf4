"""Encoders, the papers' modules, whole networks, and conversion of released checkpoints."""
