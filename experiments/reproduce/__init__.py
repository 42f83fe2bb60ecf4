"""Every table and figure of the papers by one command: ``python -m experiments.reproduce``."""
