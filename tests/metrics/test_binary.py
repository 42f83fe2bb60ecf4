"""Binary scores, against scikit-learn and by hand."""

import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from monai.data import MetaTensor

from condseg_monai import BinaryScoreMetric, binary_score_handlers
from condseg_monai.metrics.binary import BINARY_SCORES, binary_counts, binary_scores, pooled_scores, scores_from_counts
from condseg_monai.metrics.surface_distance import SurfaceDistanceMetric


def masks(*rows: list[int]) -> torch.Tensor:
    """One image of one row of pixels per argument: (B, 1, 1, W)."""
    return torch.tensor(rows).reshape(len(rows), 1, 1, -1)


def random_masks(seed: int, batch: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(batch, 1, 7, 9, generator=generator) > 0.6
    label = torch.rand(batch, 1, 7, 9, generator=generator) > 0.3
    return pred, label


def test_hand_worked_image():
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives
    label = masks([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    pred = masks([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert binary_counts(pred, label).tolist() == [[3, 1, 2, 4]]
    scores = {name: value.item() for name, value in binary_scores(pred, label).items()}
    assert scores == pytest.approx(
        {
            "iou": 3 / 6,
            "dice": 6 / 9,
            "recall": 3 / 5,
            "precision": 3 / 4,
            "accuracy": 7 / 10,
            "f2": 15 / 24,
            "specificity": 4 / 5,
        }
    )


@pytest.mark.parametrize(
    ("pred", "label", "expected"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]),
        ([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]),
        ([1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0, 0.75, 0, 0.75]),
        ([0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0, 0.75, 0, 1]),
        ([1, 0, 1, 1], [1, 1, 1, 1], [0.75, 6 / 7, 0.75, 1, 0.75, 15 / 19, 0]),
    ],
)
def test_empty_and_full_masks_follow_the_stated_rule(pred, label, expected):
    scores = binary_scores(masks(pred), masks(label))
    assert tuple(scores) == BINARY_SCORES
    assert [value.item() for value in scores.values()] == pytest.approx(expected)


@pytest.mark.parametrize("seed", [10, 11])
def test_scores_equal_scikit_learn(seed):
    pred, label = random_masks(seed)
    scores = binary_scores(pred, label)
    for index in range(len(pred)):
        p, t = pred[index].numpy().ravel(), label[index].numpy().ravel()
        expected = {
            "iou": sklearn.metrics.jaccard_score(t, p),
            "dice": sklearn.metrics.f1_score(t, p),
            "recall": sklearn.metrics.recall_score(t, p),
            "precision": sklearn.metrics.precision_score(t, p),
            "accuracy": sklearn.metrics.accuracy_score(t, p),
            "f2": sklearn.metrics.fbeta_score(t, p, beta=2),
            "specificity": sklearn.metrics.recall_score(~t, ~p),
        }
        assert {name: value[index].item() for name, value in scores.items()} == pytest.approx(expected)


counts_of_an_image = st.tuples(*[st.integers(0, 10_000)] * 4).filter(any)


@given(st.lists(counts_of_an_image, min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_properties_of_scores_of_any_counts(rows):
    scores = scores_from_counts(torch.tensor(rows))
    for values in scores.values():
        assert ((values >= 0) & (values <= 1)).all()  # never NaN
    iou, dice = scores["iou"], scores["dice"]
    torch.testing.assert_close(dice, 2 * iou / (1 + iou))
    low, high = (
        torch.minimum(scores["recall"], scores["precision"]),
        torch.maximum(scores["recall"], scores["precision"]),
    )
    assert ((low - 1e-12 <= dice) & (dice <= high + 1e-12)).all()
    tp, fp, fn, tn = torch.tensor(rows).unbind(1)
    turned = scores_from_counts(torch.stack([tn, fn, fp, tp], dim=1))  # background for foreground
    torch.testing.assert_close(turned["recall"], scores["specificity"])
    torch.testing.assert_close(turned["accuracy"], scores["accuracy"])
    swapped = scores_from_counts(torch.stack([tp, fn, fp, tn], dim=1))  # label for prediction
    torch.testing.assert_close(swapped["recall"], scores["precision"])
    torch.testing.assert_close(swapped["dice"], scores["dice"])


@given(st.lists(counts_of_an_image, min_size=1, max_size=8), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_pooled_scores_are_those_of_one_large_image(rows, copies):
    pooled = pooled_scores(torch.tensor(rows))
    whole = scores_from_counts(torch.tensor([[sum(column) for column in zip(*rows, strict=True)]]))
    assert pooled == {name: value.item() for name, value in whole.items()}
    assert pooled_scores(torch.tensor(rows * copies)) == pytest.approx(pooled)


def test_dtype_does_not_matter():
    pred, label = random_masks(2)
    expected = binary_scores(pred, label)
    for dtype in (torch.uint8, torch.int64, torch.float16, torch.float32):
        scores = binary_scores(pred.to(dtype), MetaTensor(label.to(dtype)))
        assert all(torch.equal(scores[name], expected[name]) for name in BINARY_SCORES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binary_scores(masks([1, 0, 0]), masks([1, 0, 0, 0])), r"pred \(1, 1, 1, 3\) and label \(1, 1, 1, 4\)"),
        (lambda: binary_scores(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)), "must both be"),
        (
            lambda: binary_scores(masks([1, 0]) / 4, masks([1, 0])),
            r"pred must hold only 0 and 1, found 0\.25: threshold",
        ),
        (lambda: scores_from_counts(torch.zeros(4)), "counts must be"),
        (lambda: pooled_scores(torch.zeros(0, 4)), "N of at least 1"),
    ],
)
def test_wrong_masks_and_counts_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_metric_averages_per_image_scores_over_batches():
    pred, label = random_masks(4, batch=6)
    metric = BinaryScoreMetric("dice")
    metric(pred[:4], label[:4])
    metric([*pred[4:]], [*label[4:]])  # a decollated batch, as MONAI's evaluator passes it
    expected = binary_scores(pred, label)["dice"]
    assert torch.equal(metric.get_buffer().squeeze(1), expected)
    assert metric.aggregate().item() == pytest.approx(expected.mean().item())


def test_list_of_images_of_different_sizes():
    metric = BinaryScoreMetric("dice")
    small, large = masks([1, 0])[0], masks([1, 1, 0, 0, 0, 0])[0]
    metric([small, large], [small, torch.zeros_like(large)])
    assert metric.get_buffer().squeeze(1).tolist() == [1, 0]


def test_metric_reads_counts_of_its_source():
    pred, label = random_masks(5)
    source = BinaryScoreMetric("iou")
    readers = [BinaryScoreMetric(name, source=source) for name in BINARY_SCORES[1:]]
    source(pred, label)
    for reader in readers:
        assert reader(pred, label) is None  # a second count would double every image
        assert torch.equal(reader.get_buffer().squeeze(1), binary_scores(pred, label)[reader.score])


def test_reset_forgets_the_images():
    pred, label = random_masks(6)
    metric = BinaryScoreMetric("iou")
    metric(pred, label)
    metric.reset()
    assert metric.get_buffer() is None
    with pytest.raises(RuntimeError, match="no image was counted for score 'iou'"):
        metric.aggregate()


def test_unknown_score_and_chained_source_raise():
    with pytest.raises(ValueError, match="score must be one of iou, dice"):
        BinaryScoreMetric("jaccard")
    with pytest.raises(ValueError, match="reads from 'iou'"):
        BinaryScoreMetric("f2", source=BinaryScoreMetric("dice", source=BinaryScoreMetric("iou")))
    with pytest.raises(TypeError, match="source must be a BinaryScoreMetric"):
        BinaryScoreMetric("f2", source=SurfaceDistanceMetric("asd", empty="nan"))


def test_engine_metric_equals_mean_of_saved_details_in_every_epoch():
    batches = [random_masks(7, batch=3), random_masks(8, batch=2)]
    engine = Engine(lambda _, batch: batch)
    engine.state.metric_details = {}
    handlers = binary_score_handlers(
        BinaryScoreMetric("iou"), output_transform=lambda output: output, suffix="_original"
    )
    for name, handler in handlers.items():
        handler.save_details = True
        handler.attach(engine, name)
    engine.run(batches, max_epochs=2)
    names = ("mean_iou", "mean_dice", *BINARY_SCORES[2:])
    assert list(handlers) == [f"val_{name}_original" for name in names]
    for score, name in zip(BINARY_SCORES, handlers, strict=True):
        expected = torch.cat([binary_scores(*batch)[score] for batch in batches])
        assert torch.equal(engine.state.metric_details[name].squeeze(1), expected)
        assert engine.state.metrics[name] == pytest.approx(expected.mean().item())
