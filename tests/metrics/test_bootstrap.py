"""Bootstrap interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condseg_monai.metrics.bootstrap import bootstrap_interval

SCORES = np.random.default_rng(3).beta(5, 2, size=60)


def test_interval_is_close_to_the_normal_one():
    half = 1.96 * SCORES.std(ddof=1) / np.sqrt(len(SCORES))
    assert bootstrap_interval(SCORES) == pytest.approx((SCORES.mean() - half, SCORES.mean() + half), abs=6e-3)


def test_same_seed_same_interval():
    assert (
        bootstrap_interval(SCORES, seed=5) == bootstrap_interval(SCORES, seed=5) != bootstrap_interval(SCORES, seed=6)
    )


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95]))
@settings(deadline=None, max_examples=25)
def test_interval_lies_within_the_values_and_widens_with_confidence(values, confidence):
    low, high = bootstrap_interval(values, confidence, resamples=200)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    wider_low, wider_high = bootstrap_interval(values, 0.99, resamples=200)
    assert wider_low <= low + 1e-12
    assert high <= wider_high + 1e-12


def test_equal_values_have_an_interval_without_width():
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, float("nan")], [0.5, float("inf")]])
def test_no_interval_where_there_can_be_none(values):
    assert np.isnan(bootstrap_interval(values)).all()


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="one-dimensional"):
        bootstrap_interval(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="confidence must be in"):
        bootstrap_interval(SCORES, confidence=95)
