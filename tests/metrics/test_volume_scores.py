"""Scores of organs, against medpy."""

import doctest

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import condseg_monai.metrics.volume_scores
from condseg_monai.metrics.volume_scores import organ_scores, transunet_scores

SPACING = (3.0, 0.8, 0.7)


def blobs(seed: int) -> np.ndarray:
    """Smooth shapes, such as organs are, not in the middle of the volume."""
    noise = gaussian_filter(np.random.default_rng(seed).random((10, 24, 22)), 2)
    mask = noise > np.percentile(noise, 80)
    mask[:, :3] = False
    return mask


def test_examples():
    assert doctest.testmod(condseg_monai.metrics.volume_scores).failed == 0


class TestTransUNet:
    @pytest.mark.parametrize("seed", range(6))
    def test_scores_are_medpy_s(self, seed):
        binary = pytest.importorskip("medpy.metric.binary")
        pred, label = blobs(seed), blobs(seed + 100)
        dice, distance = transunet_scores(pred, label)
        assert dice == pytest.approx(binary.dc(pred, label), rel=1e-6)
        assert distance == pytest.approx(binary.hd95(pred, label), rel=1e-6)

    def test_scores_of_organs_in_a_volume_are_medpy_s(self):
        binary = pytest.importorskip("medpy.metric.binary")
        rng = np.random.default_rng(0)
        label = np.where(blobs(0), 1 + blobs(1).astype(int), 3 * blobs(2))
        pred = np.where(rng.random(label.shape) < 0.05, rng.integers(0, 4, label.shape), label)
        for number, scores in enumerate(organ_scores(pred, label, 4, SPACING), 1):
            assert scores.transunet_dice == pytest.approx(binary.dc(pred == number, label == number))
            assert scores.dice == scores.transunet_dice
            assert scores.transunet_hd95_voxels == pytest.approx(binary.hd95(pred == number, label == number))

    def test_rules_for_empty_masks_are_the_published_ones(self):
        some, none = blobs(0), np.zeros((10, 24, 22), dtype=bool)
        assert transunet_scores(some, none) == (1.0, 0.0)  # made up
        assert transunet_scores(none, some) == (0.0, 0.0)  # missed
        assert transunet_scores(none, none) == (0.0, 0.0)


class TestOrganScores:
    def test_distance_is_in_millimetres(self):
        label, pred = np.zeros((6, 8, 9), int), np.zeros((6, 8, 9), int)
        label[1, 2, 3], pred[3, 2, 3] = 1, 1
        (scores,) = organ_scores(pred, label, 2, SPACING)
        assert scores.hd95_mm == pytest.approx(6.0) and scores.transunet_hd95_voxels == 2.0 and scores.dice == 0
        assert scores.pred_ml == scores.label_ml == pytest.approx(3.0 * 0.8 * 0.7 / 1000)

    def test_distance_is_the_larger_direction_s_percentile(self):
        pred, label = blobs(3), blobs(4)
        (scores,) = organ_scores(pred.astype(int), label.astype(int), 2, SPACING)
        points = [np.argwhere(edge) * SPACING for edge in map(edges, (pred, label))]
        apart = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
        expected = max(np.percentile(apart.min(axis), 95) for axis in (0, 1))
        assert scores.hd95_mm == pytest.approx(expected)

    def test_missed_and_made_up_organs_cost_the_diagonal_of_the_whole_volume(self):
        label, pred = np.zeros((6, 8, 9), np.uint8), np.zeros((6, 8, 9), np.uint8)
        label[1:3, 2:4, 3:5], pred[4:5, 5:7, 1:2] = 1, 2
        missed, made_up, absent = organ_scores(pred, label, 4, SPACING)
        diagonal = np.linalg.norm(np.multiply(label.shape, SPACING))
        assert (missed.dice, missed.hd95_mm) == (0.0, pytest.approx(diagonal))
        assert (made_up.dice, made_up.hd95_mm) == (0.0, pytest.approx(diagonal))
        assert (absent.dice, absent.hd95_mm) == (1.0, 0.0)
        assert (made_up.transunet_dice, missed.transunet_dice, absent.transunet_dice) == (1.0, 0.0, 0.0)
        assert np.isnan(organ_scores(pred, label, 4, SPACING, empty="nan")[0].hd95_mm)

    @pytest.mark.parametrize(
        ("pred", "label", "words"),
        [
            (np.zeros((2, 3, 4)), np.zeros((2, 3, 5)), "must be"),
            (np.full((2, 3, 4), 4), np.zeros((2, 3, 4)), "pred must hold classes 0 to 3"),
            (np.zeros((2, 3, 4)), np.full((2, 3, 4), -1), "label must hold"),
        ],
    )
    def test_what_are_no_labels_is_refused(self, pred, label, words):
        with pytest.raises(ValueError, match=words):
            organ_scores(pred, label, 4)

    def test_unknown_rule_is_refused(self):
        with pytest.raises(ValueError, match="empty must be one of"):
            organ_scores(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), 2, empty="best")


def edges(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask that touch its outside by a face."""
    padded = np.pad(mask, 1)
    inside = padded.copy()
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)
    return mask & ~inside[1:-1, 1:-1, 1:-1]
