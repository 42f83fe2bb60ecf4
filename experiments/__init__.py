"""What produces the numbers in docs/results.md: protocols and comparisons; run as ``python -m experiments.NAME``."""
