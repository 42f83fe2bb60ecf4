"""Class scores, pooled over slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from condseg_monai import ClassScoreMetric, class_score_handlers
from condseg_monai.metrics.class_scores import class_counts

NAMES = ("background", "aorta", "left kidney", "liver")


@pytest.fixture
def slices():
    """Predictions and labels of six slices; class 3 is in some of them only."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (6, 1, 8, 5), generator=generator)
    label[:4][label[:4] == 3] = 0
    noise = torch.randint(0, 4, label.shape, generator=generator)
    pred = torch.where(torch.rand(label.shape, generator=generator) < 0.3, noise, label)
    return pred, label


def volume_score(score, pred, label):
    """Of two boolean arrays, whatever their shape: they are one volume."""
    both, either = np.logical_and(pred, label).sum(), np.logical_or(pred, label).sum()
    return both / either if score == "iou" else 2 * both / (pred.sum() + label.sum())


@pytest.mark.parametrize("score", ["dice", "iou"])
def test_a_class_is_scored_over_the_stack_of_slices(slices, score):
    pred, label = slices
    expected = [volume_score(score, (pred == k).numpy(), (label == k).numpy()) for k in (1, 2, 3)]
    mean = ClassScoreMetric(score, 4)
    single = [ClassScoreMetric(score, 4, k, source=mean) for k in (1, 2, 3)]
    for part in (slice(0, 2), slice(2, 6)):  # in batches, as tensors and as a list of slices
        mean(pred[part].float(), label[part])
        for metric in single:
            metric(pred[part], label[part])
    assert mean.aggregate().item() == pytest.approx(np.mean(expected))
    assert [metric.aggregate().item() for metric in single] == pytest.approx(expected)


def test_lists_of_slices_are_batches(slices):
    pred, label = slices
    as_list, as_batch = ClassScoreMetric("dice", 4), ClassScoreMetric("dice", 4)
    as_list(list(pred), list(label))
    as_batch(pred, label)
    assert as_list.aggregate() == as_batch.aggregate()
    assert as_list.get_buffer().shape == (6, 1)


def test_a_class_that_is_nowhere_is_left_out_and_a_false_one_scores_0():
    label = torch.zeros(1, 1, 2, 2)
    label[..., 0, :] = 1
    metric = ClassScoreMetric("dice", 4)
    metric(label, label)
    assert metric.aggregate().item() == 1  # of class 1 alone
    assert ClassScoreMetric("dice", 4, 2, source=metric).aggregate().isnan()
    pred = label.clone()
    pred[..., 1, 0] = 2
    metric.reset()
    metric(pred, label)
    assert metric.aggregate().item() == 0.5


def test_scores_by_hand_and_absent_classes():
    label, pred = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    label[..., 0, :] = 1  # four pixels of class 1, of which three are found with another two
    pred[..., 0, :3], pred[..., 1, :2], pred[..., 1, 3] = 1, 1, 2
    expected = {"iou": 3 / 6, "dice": 6 / 9, "recall": 3 / 4, "precision": 3 / 5}
    for score, value in expected.items():
        metric = ClassScoreMetric(score, 4, per_image=True)
        metric(pred, label)
        assert [ClassScoreMetric(score, 4, k, metric).aggregate().item() for k in (1, 2)] == [pytest.approx(value), 0]
        assert ClassScoreMetric(score, 4, 3, metric).aggregate().isnan()  # in neither
        assert metric.aggregate().item() == pytest.approx(value / 2)


def test_per_image_averages_over_the_images_that_have_the_class():
    label = torch.zeros(3, 1, 1, 4)
    label[0, ..., :4], label[1, ..., :1] = 1, 1
    pred = label.clone()
    pred[1] = 0
    whole = ClassScoreMetric("dice", 2, 1, per_image=True)
    pooled = ClassScoreMetric("dice", 2, 1)
    for metric in (whole, pooled):
        metric(pred, label)
    assert whole.aggregate().item() == 0.5  # 1, 0, and none of the third
    assert whole.pooled().item() == pooled.aggregate().item() == pytest.approx(8 / 9)
    assert whole.per_image and not pooled.per_image


def test_counts_by_hand():
    pred, label = torch.tensor([[[[1, 2, 0, 1]]]]), torch.tensor([[[[1, 1, 2, 0]]]])
    assert class_counts(pred, label, 3).tolist() == [[[1, 2, 2], [0, 1, 1]]]


@pytest.mark.parametrize("value", [-1, 4])
def test_a_value_that_is_no_class_raises(value):
    with pytest.raises(ValueError, match="label must hold class numbers 0 to 3"):
        class_counts(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), value), 4)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="pred and label must both be"):
        class_counts(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3), 4)


def test_no_slice_is_an_error():
    with pytest.raises(RuntimeError, match="the validation set is empty"):
        ClassScoreMetric("iou", 4).aggregate()


@pytest.mark.parametrize(("num_classes", "index"), [(1, None), (4, 0), (4, 4)])
def test_classes_out_of_range_raise(num_classes, index):
    with pytest.raises(ValueError, match="num_classes must be at least 2 and class_index 1 to"):
        ClassScoreMetric("iou", num_classes, index)


def test_handlers_are_named_after_the_classes():
    handlers = class_score_handlers(NAMES, ClassScoreMetric("iou", 4), lambda output: output)
    assert list(handlers) == ["val_mean_dice", "val_dice_aorta", "val_dice_left_kidney", "val_dice_liver"]
