"""Handlers for MONAI trainers and evaluators."""
