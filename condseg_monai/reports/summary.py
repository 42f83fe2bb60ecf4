"""Summary statistics of scores: mean, median, standard deviation, interval, and number of images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.reports.score_table import ScoreTable

__all__ = ["SIZE_LIMITS", "all_foreground_dice", "json_numbers", "summarize_scores", "summarize_sizes"]

SIZE_LIMITS = (0.05, 0.2)
"""Lesions under the first share of the image's pixels are small, those under the second medium, others large."""


def summarize_scores(table: ScoreTable, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Summarise each score over images; images where it is NaN are left out and not counted.

    Returns:
        For each score ``mean``, ``std`` (divided by n), ``median``, ``interval_95`` (of the mean, by bootstrap) and
        the number of ``images``. None stands for NaN and for an interval that cannot be had.
    """
    return {name: _summarize(values, seed) for name, values in table.scores.items()}


def summarize_sizes(table: ScoreTable) -> dict[str, dict[str, Any]]:
    """Summarise images without lesion, and those with small, medium and large ones (``SIZE_LIMITS``), by themselves."""
    if "label_share" not in table.images:
        return {}
    share, (small, medium) = table.images["label_share"], SIZE_LIMITS
    groups = {
        "empty": share == 0,
        "small": (share > 0) & (share < small),
        "medium": (share >= small) & (share < medium),
        "large": share >= medium,
    }
    return {
        name: {"images": int(rows.sum()), "scores": summarize_scores(table.select(rows))}
        for name, rows in groups.items()
        if rows.any()
    }


def all_foreground_dice(shares: Iterable[float]) -> float:
    """Mean Dice over images of a prediction that calls every pixel lesion: what any model should exceed.

    Args:
        shares: of lesion in each label, in [0, 1].

    Example:
        >>> all_foreground_dice([0.0, 1.0])
        0.5
    """
    return float(np.mean([2 * share / (1 + share) for share in shares]))


def json_numbers(content: Any) -> Any:
    """Replace the numbers that JSON does not have, at any depth: NaN by None, infinity by the text ``inf``."""
    if isinstance(content, dict):
        return {key: json_numbers(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [json_numbers(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content


def _summarize(values: np.ndarray, seed: int) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return {"mean": None, "std": None, "median": None, "interval_95": None, "images": 0}
    low, high = bootstrap_interval(known, seed=seed)
    finite = bool(np.isfinite(known).all())
    return {
        "mean": float(known.mean()),
        "std": float(known.std()) if finite else None,
        "median": float(np.median(known)),
        "interval_95": None if math.isnan(low) else [low, high],
        "images": len(known),
    }
