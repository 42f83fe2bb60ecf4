"""Scores of binary masks, one value per image, all from one table of pixel counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from condseg_monai.metrics.score_metric import ScoreMetric, check_pair

__all__ = [
    "BINARY_SCORES",
    "EMPTY_MASK_RULE",
    "BinaryScoreMetric",
    "binary_counts",
    "binary_score_handlers",
    "binary_scores",
    "pooled_scores",
    "scores_from_counts",
]

BINARY_SCORES = ("iou", "dice", "recall", "precision", "accuracy", "f2", "specificity")
"""The seven scores, in the order of every table and report."""

EMPTY_MASK_RULE = (
    "label and prediction both empty: every score is 1; exactly one of them empty: iou, dice, recall, precision and "
    "f2 are 0, although recall (empty label) or precision (empty prediction) would be 0/0; accuracy is always the "
    "share of correct pixels; specificity follows the rule of recall for the background: a label without background is "
    "1 if the prediction has none either, else 0"
)
"""What a score is where its formula is 0/0: an undefined ratio never rewards a wrong mask.

The released ConDSeg code counts 0/0 as 1, so that a missed lesion has precision 1 there, and an empty label recall 1.
"""


_PRED_AND_LABEL = from_engine(["pred", "label"])


def binary_counts(pred: Tensor, label: Tensor) -> Tensor:
    """Count true positives, false positives, false negatives and true negatives of each image.

    Args:
        pred: predicted masks ``(B, 1, H, W)``, bool or any type holding only 0 and 1.
        label: true masks, same shape and values.

    Returns:
        ``(B, 4)`` int64.
    """
    check_pair(pred, label)
    p, q = _as_mask("pred", pred), _as_mask("label", label)
    return torch.stack([(p & q).sum(1), (p & ~q).sum(1), (~p & q).sum(1), (~p & ~q).sum(1)], dim=1)


def scores_from_counts(counts: Tensor) -> dict[str, Tensor]:
    """Turn pixel counts ``(B, 4)`` into the seven scores by name, each ``(B,)`` float64 in [0, 1].

    IoU = TP / (TP + FP + FN), Dice = 2 TP / (2 TP + FP + FN), recall = TP / (TP + FN), precision = TP / (TP + FP),
    accuracy = (TP + TN) / all, specificity = TN / (TN + FP), and F2 = 5 TP / (5 TP + 4 FN + FP). What is 0/0 follows
    :data:`EMPTY_MASK_RULE`.
    """
    if counts.ndim != 2 or counts.shape[1] != 4:
        raise ValueError(f"counts must be (B, 4): tp, fp, fn, tn per image, got {tuple(counts.shape)}")
    tp, fp, fn, tn = counts.to(torch.float64).unbind(dim=1)
    both_empty = (tp + fp + fn) == 0
    both_full = (tn + fp + fn) == 0

    def ratio(numerator: Tensor, denominator: Tensor, perfect: Tensor = both_empty) -> Tensor:
        # The numerator is never above the denominator, so clamping only touches 0/0.
        return torch.where(perfect, 1.0, numerator / denominator.clamp(min=1))

    return {
        "iou": ratio(tp, tp + fp + fn),
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "recall": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "f2": ratio(5 * tp, 5 * tp + 4 * fn + fp),
        "specificity": ratio(tn, tn + fp, both_full),
    }


def pooled_scores(counts: Tensor) -> dict[str, float]:
    """Score all pixels of a data set, counts ``(N, 4)``, as if they were one image: large lesions weigh more.

    Example:
        >>> counts = torch.tensor([[90, 10, 0, 0], [0, 0, 10, 90]])  # a large lesion found, a small one missed
        >>> scores_from_counts(counts)["dice"].mean().item(), pooled_scores(counts)["dice"]
        (0.4736842105263158, 0.9)
    """
    if counts.ndim != 2 or counts.shape[1] != 4 or len(counts) == 0:
        raise ValueError(f"counts must be (N, 4) with N of at least 1, got {tuple(counts.shape)}")
    return {name: value.item() for name, value in scores_from_counts(counts.sum(0, keepdim=True)).items()}


def binary_scores(pred: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Score each image of a batch of binary masks; see :func:`binary_counts` and :func:`scores_from_counts`.

    Example:
        >>> label = torch.tensor([[[[1, 1], [0, 0]]]])
        >>> pred = torch.tensor([[[[1, 0], [0, 0]]]])
        >>> {name: round(score.item(), 3) for name, score in binary_scores(pred, label).items()}
        {'iou': 0.5, 'dice': 0.667, 'recall': 0.5, 'precision': 1.0, 'accuracy': 0.75, 'f2': 0.556, 'specificity': 1.0}
    """
    return scores_from_counts(binary_counts(pred, label))


class BinaryScoreMetric(ScoreMetric):
    """One of the seven scores of every image, and its average, for a MONAI engine; see :class:`ScoreMetric`.

    Args:
        score: a name in ``BINARY_SCORES``.
        source: the metric whose counts to read; ``None`` counts itself.

    Example:
        >>> iou = BinaryScoreMetric("iou")
        >>> dice = BinaryScoreMetric("dice", source=iou)
        >>> label = torch.tensor([[[[1, 1], [0, 0]]], [[[0, 0], [0, 0]]]])
        >>> pred = torch.tensor([[[[1, 0], [0, 0]]], [[[0, 0], [0, 0]]]])
        >>> _ = iou(pred, label)
        >>> round(iou.aggregate().item(), 3), round(dice.aggregate().item(), 3)
        (0.75, 0.833)
    """

    scores: ClassVar[tuple[str, ...]] = BINARY_SCORES

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return binary_counts(y_pred, self._required(y))

    def _scores_from(self, rows: Tensor) -> dict[str, Tensor]:
        return scores_from_counts(rows)


def binary_score_handlers(
    source: ScoreMetric,
    scores: Sequence[str] = BINARY_SCORES,
    output_transform: Callable = _PRED_AND_LABEL,
    suffix: str = "",
) -> dict[str, IgniteMetricHandler]:
    """Make an evaluator's metric handlers of several binary scores, from one count of the pixels.

    Args:
        source: the metric that counts, attached to the same evaluator; it is the handler's metric of its own score.
        scores: names in ``BINARY_SCORES``.
        output_transform: gives prediction and label from the evaluator's output; by default ``pred`` and ``label``.
        suffix: ends the handlers' names.

    Returns:
        Handlers by name: ``val_mean_iou``, ``val_mean_dice``, ``val_recall`` and so on.
    """
    names = {"iou": "mean_iou", "dice": "mean_dice"}
    metrics = {score: source if score == source.score else BinaryScoreMetric(score, source) for score in scores}
    return {
        f"val_{names.get(score, score)}{suffix}": IgniteMetricHandler(metric, output_transform=output_transform)
        for score, metric in metrics.items()
    }


def _as_mask(name: str, mask: Tensor) -> Tensor:
    """Return ``(B, H*W)`` bool."""
    plain = mask.detach().as_subclass(Tensor).flatten(1)
    if plain.dtype == torch.bool:
        return plain
    positive = plain == 1
    if not bool((valid := positive | (plain == 0)).all()):
        raise ValueError(f"{name} must hold only 0 and 1, found {plain[~valid][0].item()}: threshold it at 0.5 first")
    return positive
