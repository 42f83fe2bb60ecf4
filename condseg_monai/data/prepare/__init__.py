"""Preparation of downloaded data sets."""
