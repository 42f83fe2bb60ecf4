"""Saliency scores, against direct computation."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from condseg_monai.metrics.saliency import SALIENCY_SCORES, SaliencyScoreMetric, saliency_scores


def example(seed: int = 0, shape: tuple[int, int] = (12, 15)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, dtype=bool)
    label[3:8, 4:11] = True
    return np.clip(label * 0.5 + rng.uniform(0, 0.5, shape), 0, 1), label


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setattr("condseg_monai.metrics.saliency._has_py_sod_metrics", False)
    with pytest.raises(ImportError, match=r"condseg_monai\[saliency\]"):
        saliency_scores(*example())
    with pytest.raises(ImportError, match=r"condseg_monai\[saliency\]"):
        SaliencyScoreMetric("mae")(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3))


class TestWithTheLibrary:
    def test_names_are_in_order(self):
        assert tuple(saliency_scores(*example())) == SALIENCY_SCORES

    def test_perfect_map_has_perfect_scores(self):
        _, label = example()
        scores = saliency_scores(label.astype(float), label)
        assert scores["mae"] == 0
        assert scores["s_measure"] == pytest.approx(1)
        assert scores["weighted_f"] == pytest.approx(1)
        # the lowest of the 256 thresholds calls every pixel foreground
        assert scores["swept_dice"] == pytest.approx((255 + 2 * label.sum() / (label.sum() + label.size)) / 256)
        assert scores["swept_iou"] == pytest.approx((255 + label.sum() / label.size) / 256)
        assert scores["e_measure"] > 0.99

    @pytest.mark.parametrize("seed", range(3))
    def test_scores_equal_those_worked_out_directly(self, seed):
        probs, label = example(seed)
        levels = (probs * 255).astype(np.uint8)
        dice = [2 * (label & (levels >= t)).sum() / (label.sum() + (levels >= t).sum()) for t in range(256)]
        iou = [(label & (levels >= t)).sum() / (label | (levels >= t)).sum() for t in range(256)]
        scores = saliency_scores(probs, label)
        assert scores["swept_dice"] == pytest.approx(np.mean(dice))
        assert scores["swept_iou"] == pytest.approx(np.mean(iou))
        assert scores["mae"] == pytest.approx(np.abs(probs - label).mean())
        assert scores["s_measure"] == pytest.approx(s_measure(probs, label))
        assert scores["e_measure"] == pytest.approx(np.mean([e_measure(levels >= t, label) for t in range(256)]))

    def test_stretching_makes_an_unsure_map_look_sure(self):
        probs, label = example()
        unsure = 0.2 + probs / 10
        assert saliency_scores(unsure, label)["mae"] > 0.2
        stretched = (unsure - unsure.min()) / (unsure.max() - unsure.min())
        assert saliency_scores(unsure, label, stretch=True) == pytest.approx(saliency_scores(stretched, label))

    def test_empty_label_follows_the_stated_rule(self):
        probs, label = np.full((6, 7), 0.25), np.zeros((6, 7), dtype=bool)
        scores = saliency_scores(probs, label)
        assert scores["s_measure"] == pytest.approx(0.75)
        assert (scores["weighted_f"], scores["swept_dice"], scores["swept_iou"]) == (0, 0, 0)
        assert scores["mae"] == 0.25
        assert saliency_scores(np.zeros((6, 7)), label)["swept_dice"] == 0

    def test_metric_shares_one_pass_over_images_of_different_sizes(self):
        pairs = [example(1), example(2, (9, 20))]
        mae = SaliencyScoreMetric("mae")
        others = {name: SaliencyScoreMetric(name, source=mae) for name in SALIENCY_SCORES}
        batch = [
            [MetaTensor(torch.from_numpy(array)[None].float()) for array in part] for part in zip(*pairs, strict=True)
        ]
        mae(*batch)
        expected = [saliency_scores(*pair) for pair in pairs]
        for name, metric in others.items():
            values = [scores[name] for scores in expected]
            assert metric.get_buffer().squeeze(1).tolist() == pytest.approx(values, abs=1e-2 if "e_" in name else 1e-5)

    def test_wrong_input_raises(self):
        probs, label = example()
        with pytest.raises(ValueError, match=r"probs must be in \[0, 1\]"):
            saliency_scores(probs * 3, label)
        with pytest.raises(ValueError, match=r"must both be \(H, W\)"):
            saliency_scores(probs[1:], label)
        with pytest.raises(ValueError, match="label must hold only 0 and 1"):
            saliency_scores(probs, label * 255)


def e_measure(mask: np.ndarray, label: np.ndarray) -> float:
    """Fan et al. 2018, pixel by pixel, with the field's division by one pixel less."""
    bias_mask, bias_label = mask - mask.mean(), label - label.mean()
    alignment = 2 * bias_mask * bias_label / (bias_mask**2 + bias_label**2 + np.finfo(float).eps)
    return float(((alignment + 1) ** 2 / 4).sum() / (label.size - 1))


def s_measure(probs: np.ndarray, label: np.ndarray) -> float:
    """Fan et al. 2017, Eq. 1: half the object-aware, half the region-aware similarity."""

    def of_object(values: np.ndarray) -> float:
        return 2 * values.mean() / (values.mean() ** 2 + 1 + values.std(ddof=1))

    def ssim(p: np.ndarray, t: np.ndarray) -> float:
        cov = np.cov(np.stack([p.ravel(), t.ravel().astype(float)]))
        top, bottom = 4 * p.mean() * t.mean() * cov[0, 1], (p.mean() ** 2 + t.mean() ** 2) * (cov[0, 0] + cov[1, 1])
        return top / bottom if top else float(bottom == 0)

    share = label.mean()
    objects = share * of_object(probs[label]) + (1 - share) * of_object(1 - probs[~label])
    row, column = (int(value) + 1 for value in np.argwhere(label).mean(axis=0).round())
    quarters = [(slice(a), slice(b)) for a, b in [(row, column)]]
    quarters += [
        (slice(row), slice(column, None)),
        (slice(row, None), slice(column)),
        (slice(row, None), slice(column, None)),
    ]
    regions = sum(ssim(probs[q], label[q]) * label[q].size / label.size for q in quarters)
    return 0.5 * objects + 0.5 * regions
