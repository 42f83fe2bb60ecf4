"""Calibration and scores over thresholds, against plain definitions."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import CalibrationErrorMetric
from monai.transforms import AsDiscrete

from condseg_monai import ProbabilityBinMetric
from condseg_monai.metrics.binary import binary_scores
from condseg_monai.metrics.probability_bins import calibration_curve, threshold_curve


@pytest.fixture
def pairs() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three images of different sizes, with probabilities on the edges of bins among them."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for height, width in ((20, 30), (7, 11), (16, 16)):
        prob = torch.rand(1, height, width, generator=generator)
        label = (torch.rand(1, height, width, generator=generator) < prob**2).float()
        images.append((prob, label))
    images[0][0][0, 0] = torch.linspace(0, 1, 101)[:30]
    images[2][0][0, 0] = torch.tensor([0.0, 1.0] * 8)
    return images


def measured(pairs) -> ProbabilityBinMetric:
    metric = ProbabilityBinMetric()
    for prob, label in pairs:
        metric([MetaTensor(prob)], [MetaTensor(label)])
    return metric


def test_calibration_error_is_monais():
    generator = torch.Generator().manual_seed(1)
    prob = torch.rand(1, 24, 40, generator=generator)  # none on an edge of a bin, where MONAI's have another side
    label = (torch.rand(1, 24, 40, generator=generator) < 0.3).float()
    monai = CalibrationErrorMetric(num_bins=20)
    monai(prob[None], label[None])
    assert measured([(prob, label)]).aggregate().item() == pytest.approx(float(monai.aggregate()), abs=1e-6)


def test_every_threshold_scores_as_the_mask_does(pairs):
    curve = threshold_curve(measured(pairs).measurements())
    assert curve["threshold"] == [index / 100 for index in range(1, 100)]
    for index in (0, 24, 49, 74, 98):
        masks = [AsDiscrete(threshold=curve["threshold"][index])(prob) for prob, _ in pairs]
        for name in ("dice", "iou", "recall", "precision"):
            scores = [
                binary_scores(mask[None], label[None])[name].item()
                for mask, (_, label) in zip(masks, pairs, strict=True)
            ]
            assert curve[f"mean_{name}"][index] == pytest.approx(np.mean(scores), abs=1e-12)


def test_curve_of_all_pixels(pairs):
    curve = calibration_curve(measured(pairs).measurements(), 0.5)
    prob = torch.cat([prob.flatten() for prob, _ in pairs])
    label = torch.cat([label.flatten() for _, label in pairs]).bool()
    inside = (prob >= 0.45) & (prob < 0.5)
    assert curve["probability"][9] == pytest.approx(prob[inside].mean().item(), abs=1e-6)
    assert curve["lesion"][9] == pytest.approx(label[inside].float().mean().item(), abs=1e-6)
    assert curve["pixels"][9] == pytest.approx(inside.float().mean().item(), abs=1e-6)
    assert sum(curve["pixels"]) == pytest.approx(1)
    wrong, doubtful = (prob >= 0.5) != label, (prob >= 0.25) & (prob < 0.75)
    assert curve["doubtful"]["pixels"] == pytest.approx(doubtful.float().mean().item(), abs=1e-6)
    assert curve["doubtful"]["errors"] == pytest.approx(doubtful[wrong].float().mean().item(), abs=1e-6)


def test_sure_and_right_is_perfect_and_has_no_doubt():
    label = torch.zeros(1, 4, 4)
    label[0, :2] = 1
    metric = measured([(label, label)])
    assert metric.aggregate().item() == 0
    curve = calibration_curve(metric.measurements())
    assert curve["error"] == 0
    assert curve["doubtful"] == {"pixels": 0, "errors": None}
    assert curve["lesion"] == [0.0, *[None] * 18, 1.0]
    assert set(threshold_curve(metric.measurements())["mean_dice"]) == {1.0}
