"""Placeholder, filled in by its part."""
