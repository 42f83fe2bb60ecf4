"""Scores of every image with a stated rule for empty masks, and bootstrap intervals of their mean."""
