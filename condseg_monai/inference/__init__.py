"""Inference: cases to process, predictions on disk, CT volumes slice by slice."""
