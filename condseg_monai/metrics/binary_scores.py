"""Scores of binary masks, one value per image, all from one table of pixel counts."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

__all__ = [
    "BINARY_SCORES",
    "EMPTY_MASK_RULE",
    "BinaryScoreMetric",
    "binary_counts",
    "binary_scores",
    "scores_from_counts",
]

BINARY_SCORES = ("iou", "dice", "recall", "precision", "accuracy", "f2")
"""The six scores, in the order of every table and report."""

EMPTY_MASK_RULE = (
    "label and prediction both empty: every score is 1; exactly one of them empty: iou, dice, recall, precision and "
    "f2 are 0, although recall (empty label) or precision (empty prediction) would be 0/0; accuracy is always the "
    "share of correct pixels"
)
"""What a score is where its formula is 0/0: an undefined ratio never rewards a wrong mask."""


def binary_counts(pred: Tensor, label: Tensor) -> Tensor:
    """Count the four kinds of pixel of each image.

    Args:
        pred: predicted masks ``(B, 1, H, W)``, bool or any type holding only 0 and 1.
        label: true masks, same shape and values.

    Returns:
        ``(B, 4)`` int64: true positives, false positives, false negatives, true negatives.

    Raises:
        ValueError: if the shapes differ or are not ``(B, 1, H, W)``, or a value is neither 0 nor 1 (threshold
            probabilities first).
    """
    if pred.shape != label.shape or pred.ndim != 4 or pred.shape[1] != 1:
        raise ValueError(
            f"pred and label must both be (B, 1, H, W), got pred {tuple(pred.shape)} and label {tuple(label.shape)}"
        )
    pred_mask, label_mask = _as_mask("pred", pred), _as_mask("label", label)
    true_positive = (pred_mask & label_mask).sum(1)
    false_positive = (pred_mask & ~label_mask).sum(1)
    false_negative = (~pred_mask & label_mask).sum(1)
    true_negative = (~pred_mask & ~label_mask).sum(1)
    return torch.stack([true_positive, false_positive, false_negative, true_negative], dim=1)


def scores_from_counts(counts: Tensor) -> dict[str, Tensor]:
    """Turn pixel counts into the six scores.

    With TP, FP, FN, TN the counts of one image: IoU = TP / (TP + FP + FN), Dice = 2 TP / (2 TP + FP + FN),
    recall = TP / (TP + FN), precision = TP / (TP + FP), accuracy = (TP + TN) / all, and
    F2 = 5 TP / (5 TP + 4 FN + FP), the F-measure that weighs recall twice as high as precision.

    Where a mask is empty: label and prediction both empty gives 1 for every score; exactly one of them empty gives 0
    for every score but accuracy. So recall of an image without any label is 1 only if nothing was predicted, and
    precision of an empty prediction is 1 only if nothing was there to find.

    Args:
        counts: ``(B, 4)`` as :func:`binary_counts` returns them.

    Returns:
        The scores by name, in the order of ``BINARY_SCORES``, each ``(B,)`` float64 in [0, 1].

    Raises:
        ValueError: if ``counts`` is not ``(B, 4)``.
    """
    if counts.ndim != 2 or counts.shape[1] != 4:
        raise ValueError(f"counts must be (B, 4): tp, fp, fn, tn per image, got {tuple(counts.shape)}")
    tp, fp, fn, tn = counts.to(torch.float64).unbind(dim=1)
    both_empty = (tp + fp + fn) == 0

    def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
        # The numerator is never above the denominator, so clamping only touches 0/0.
        return torch.where(both_empty, 1.0, numerator / denominator.clamp(min=1))

    return {
        "iou": ratio(tp, tp + fp + fn),
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "recall": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "f2": ratio(5 * tp, 5 * tp + 4 * fn + fp),
    }


def binary_scores(pred: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Score each image of a batch of binary masks.

    Args:
        pred: predicted masks ``(B, 1, H, W)``, bool or any type holding only 0 and 1.
        label: true masks, same shape and values.

    Returns:
        IoU, Dice, recall, precision, accuracy and F2 by name, each ``(B,)`` float64 in [0, 1]; the rule for empty
        masks is that of :func:`scores_from_counts`.

    Raises:
        ValueError: if the shapes differ or are not ``(B, 1, H, W)``, or a value is neither 0 nor 1.

    Example:
        >>> label = torch.tensor([[[[1, 1], [0, 0]]]])
        >>> pred = torch.tensor([[[[1, 0], [0, 0]]]])
        >>> {name: round(score.item(), 3) for name, score in binary_scores(pred, label).items()}
        {'iou': 0.5, 'dice': 0.667, 'recall': 0.5, 'precision': 1.0, 'accuracy': 0.75, 'f2': 0.556}
    """
    return scores_from_counts(binary_counts(pred, label))


class BinaryScoreMetric(CumulativeIterationMetric):
    """One of the six scores, averaged over images, for a MONAI engine.

    Calling it counts the pixels of a batch; :meth:`aggregate` averages the images' scores and :meth:`get_buffer`
    returns them one by one, gathered over all processes of a distributed run. A metric made with ``source`` counts
    nothing itself: it reads its score off the counts of ``source``, so that six scores cost one pass over the masks.
    ``source`` must then be attached to the same engine.

    Args:
        score: a name in ``BINARY_SCORES``.
        source: the metric whose counts to read; ``None`` counts itself.

    Raises:
        ValueError: if ``score`` is not one of the six, or ``source`` reads from another metric itself.

    Example:
        >>> iou = BinaryScoreMetric("iou")
        >>> dice = BinaryScoreMetric("dice", source=iou)
        >>> label = torch.tensor([[[[1, 1], [0, 0]]], [[[0, 0], [0, 0]]]])
        >>> pred = torch.tensor([[[[1, 0], [0, 0]]], [[[0, 0], [0, 0]]]])
        >>> _ = iou(pred, label)
        >>> round(iou.aggregate().item(), 3), round(dice.aggregate().item(), 3)
        (0.75, 0.833)
    """

    def __init__(self, score: str, source: BinaryScoreMetric | None = None) -> None:
        super().__init__()
        if score not in BINARY_SCORES:
            raise ValueError(f"score must be one of {', '.join(BINARY_SCORES)}, got {score!r}")
        if source is not None and source.source is not None:
            raise ValueError(f"source must count pixels itself, got one that reads from {source.source.score!r}")
        self.score: str = score
        self.source: BinaryScoreMetric | None = source

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        """Count the pixels of one batch, unless a ``source`` does.

        Args:
            y_pred: masks ``(B, 1, H, W)`` or a list of ``(1, H, W)``, holding 0 and 1.
            y: true masks in the same form.
            **kwargs: ignored; part of MONAI's signature.

        Returns:
            ``(B, 4)`` counts of this batch, or ``None`` if ``source`` counts.
        """
        return super().__call__(y_pred, y, **kwargs) if self.source is None else None

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None:
            raise ValueError("y is missing: a score needs the label beside the prediction")
        return binary_counts(y_pred, y)

    def get_buffer(self) -> Tensor | None:
        """Return the score of every image seen since the last reset, on all processes.

        Returns:
            ``(N, 1)`` float64, or ``None`` before the first batch.
        """
        counts = self._counts()
        return None if counts is None else scores_from_counts(counts)[self.score].unsqueeze(1)

    def aggregate(self) -> Tensor:
        """Average the score over images.

        Returns:
            Scalar float64 in [0, 1].

        Raises:
            RuntimeError: if no image was counted.
        """
        scores = self.get_buffer()
        if scores is None:
            raise RuntimeError(
                f"no image was counted for score {self.score!r}: the validation set is empty, or source is not "
                "attached to the same engine"
            )
        return scores.mean()

    def _counts(self) -> Tensor | None:
        if self.source is not None:
            return self.source._counts()
        # MONAI keeps the tensor type it was given, so a MetaTensor may come back here.
        counts = super().get_buffer()
        return None if counts is None else torch.as_tensor(counts)


def _as_mask(name: str, mask: Tensor) -> Tensor:
    """Return ``(B, H*W)`` bool."""
    plain = mask.detach().as_subclass(Tensor).flatten(1)
    if plain.dtype == torch.bool:
        return plain
    positive = plain == 1
    if not bool((positive | (plain == 0)).all()):
        found = (plain[~(positive | (plain == 0))].flatten()[0]).item()
        raise ValueError(f"{name} must hold only 0 and 1, found {found}: threshold it at 0.5 first")
    return positive
