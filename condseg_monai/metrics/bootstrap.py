"""Bootstrap confidence interval of a mean over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["bootstrap_interval"]

_BATCH_VALUES = 4_000_000  # drawn at once, which bounds the memory


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, by ``scipy.stats.bootstrap``.

    It covers the choice of images, not another training or another data set.

    Args:
        values: one value per image; for two systems on the same images, their differences.
        confidence: in (0, 1).
        resamples: how often to draw as many images as there are, with replacement.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN both where there are fewer than two values or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must be one-dimensional, got {array.shape}")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence must be in (0, 1) and resamples positive, got {confidence} and {resamples}")
    if len(array) < 2 or not np.isfinite(array).all():
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _BATCH_VALUES // len(array)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
