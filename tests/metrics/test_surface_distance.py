"""Surface distances, against all pairs of boundary pixels and medpy."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from medpy.metric import binary as medpy
from monai.metrics import HausdorffDistanceMetric

from condseg_monai.metrics.surface_distance import EMPTY_DISTANCES, SurfaceDistanceMetric, surface_distances
from condseg_monai.metrics.surface_distance import surface_distance_scores as scores

EMPTY, ONE_PIXEL = np.zeros((3, 4)), np.eye(3, 4) * np.array([[1], [0], [0]])


def blob(seed: int, shape: tuple[int, ...] = (13, 17)) -> np.ndarray:
    """A random mask with a few connected parts."""
    noise = np.random.default_rng(seed).normal(size=shape)
    for axis in range(len(shape)):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    return noise > 0.5


def by_hand(pred: np.ndarray, label: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distances between all pairs of boundary pixels, one pixel at a time."""

    def boundary(mask: np.ndarray) -> np.ndarray:
        points = []
        for point in np.argwhere(mask):
            steps = np.concatenate([np.eye(mask.ndim, dtype=int), -np.eye(mask.ndim, dtype=int)])
            around = [tuple(point + step) for step in steps]
            inside = [all(0 <= i < n for i, n in zip(p, mask.shape, strict=True)) and mask[p] for p in around]
            points += [] if all(inside) else [point]
        return np.array(points) * spacing

    distances = np.linalg.norm(boundary(pred)[:, None] - boundary(label)[None], axis=-1)
    return distances.min(axis=1), distances.min(axis=0)


small_masks = arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8)))


def test_hand_worked_squares():
    label, pred = np.zeros((8, 10)), np.zeros((8, 10))
    label[2:5, 2:5] = 1  # 8 boundary pixels
    pred[2:5, 4:7] = 1  # two columns to the right
    to_label, _ = surface_distances(pred, label)
    assert sorted(to_label) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert scores(pred, label, empty="nan") == {"hd95": 2, "asd": 1}
    assert scores(pred, label, empty="nan", spacing=(1, 0.5)) == {"hd95": 1, "asd": 0.5}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_distances_equal_those_of_all_pairs(seed, spacing):
    pred, label = blob(seed), blob(seed + 100)
    found, expected = surface_distances(pred, label, spacing), by_hand(pred, label, spacing)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)  # MONAI measures in single precision
    found = scores(pred, label, empty="inf", spacing=spacing)
    assert found["hd95"] == pytest.approx(max(np.percentile(one, 95) for one in expected), rel=1e-6)
    assert found["asd"] == pytest.approx(np.concatenate(expected).mean(), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_distances_equal_medpy(seed):
    pred, label = blob(seed), blob(seed + 10)
    spacing = (0.5, 2.0)
    to_label, to_pred = surface_distances(pred, label, spacing)
    both = np.concatenate([to_label, to_pred])
    assert both.max() == pytest.approx(medpy.hd(pred, label, voxelspacing=spacing))
    assert to_label.mean() == pytest.approx(medpy.asd(pred, label, voxelspacing=spacing))
    assert np.percentile(both, 95) == pytest.approx(medpy.hd95(pred, label, voxelspacing=spacing))


@given(small_masks, st.data())
@settings(deadline=None, max_examples=60)
def test_properties_of_any_two_masks(pred, data):
    label = data.draw(arrays(bool, pred.shape))
    assume(pred.any() and label.any())
    found, largest = scores(pred, label, empty="nan"), np.concatenate(surface_distances(pred, label)).max()
    assert 0 <= found["asd"] <= largest + 1e-6
    assert found["hd95"] <= largest + 1e-6 <= np.hypot(*pred.shape) + 1e-5
    assert scores(label, pred, empty="nan") == pytest.approx(found)
    tripled = {name: 3 * value for name, value in found.items()}
    assert scores(pred.T, label.T, empty="nan", spacing=3) == pytest.approx(tripled, rel=1e-6)
    assert scores(*(np.pad(mask, 2) for mask in (pred, label)), empty="nan") == pytest.approx(found)
    assert scores(pred, pred, empty="nan") == {"hd95": 0, "asd": 0}


@pytest.mark.parametrize(
    ("empty", "one", "both"), [("nan", np.nan, np.nan), ("inf", np.inf, 0), ("diagonal", 5, 0), ("zero", 0, 0)]
)
def test_empty_masks_follow_the_rule_that_was_named(empty, one, both):
    pairs = [(EMPTY, ONE_PIXEL), (ONE_PIXEL, EMPTY), (EMPTY, EMPTY), (ONE_PIXEL, ONE_PIXEL)]
    found = [list(scores(*pair, empty=empty).values()) for pair in pairs]
    np.testing.assert_equal(found, [[value] * 2 for value in (one, one, both, 0)])


def test_a_rule_must_be_named():
    assert set(EMPTY_DISTANCES) == {"nan", "inf", "diagonal", "zero"}
    with pytest.raises(TypeError, match="empty"):
        scores(EMPTY, EMPTY)
    with pytest.raises(ValueError, match="empty must be one of nan, inf, diagonal, zero, got 'drop'"):
        SurfaceDistanceMetric("hd95", empty="drop")


def test_a_missed_lesion_makes_the_average_worse_where_monais_gets_better():
    label = torch.zeros(2, 1, 12, 12)
    label[:, :, 3:6, 3:6] = 1
    found, missed = label.roll(2, dims=3), label.roll(2, dims=3)
    missed[0] = 0
    means, monai_means = [], []
    for pred in (found, missed):
        metric, monai_metric = SurfaceDistanceMetric("hd95", empty="diagonal"), HausdorffDistanceMetric(percentile=95)
        metric(pred, label)
        monai_metric(pred, label)
        means.append(metric.aggregate().item())
        monai_means.append(monai_metric.aggregate().item())
    assert means == pytest.approx([2, (2 + np.hypot(12, 12)) / 2])
    assert monai_means[1] <= monai_means[0]  # the missed image is left out


def test_metric_takes_images_of_different_sizes_and_shares_its_distances():
    hd95 = SurfaceDistanceMetric("hd95", empty="nan", spacing=0.5)
    asd = SurfaceDistanceMetric("asd", empty="nan", source=hd95)
    pairs = [(blob(1), blob(2)), (blob(3, (5, 9)), blob(4, (5, 9))), (np.zeros((4, 4), bool), np.ones((4, 4), bool))]
    batch = [[torch.from_numpy(mask)[None] for mask in masks] for masks in zip(*pairs, strict=True)]
    hd95(*batch)
    assert asd(*batch) is None
    for metric in (hd95, asd):
        expected = [scores(*pair, empty="nan", spacing=0.5)[metric.score] for pair in pairs]
        np.testing.assert_allclose(metric.get_buffer().squeeze(1).numpy(), expected)
        assert metric.aggregate().item() == pytest.approx(np.nanmean(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 2)), np.zeros((2, 3))), r"pred \(2, 2\) and label \(2, 3\)"),
        ((np.full((2, 2), 0.5), np.zeros((2, 2))), "pred must hold only 0 and 1"),
        ((np.zeros(2), np.zeros(2)), r"pred must be \(H, W\)"),
    ],
)
def test_wrong_masks_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        scores(*arguments, empty="nan")


@pytest.mark.parametrize("spacing", [0, -1.0, (1.0, float("nan"))])
def test_wrong_spacing_raises(spacing):
    with pytest.raises(ValueError, match="spacing must be positive"):
        scores(ONE_PIXEL, ONE_PIXEL, empty="nan", spacing=spacing)
