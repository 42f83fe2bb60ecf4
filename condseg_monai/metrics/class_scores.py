"""Scores of several classes, of each image or pooled over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from condseg_monai.metrics.score_metric import ScoreMetric, check_pair

__all__ = ["ABSENT_CLASS_RULE", "CLASS_SCORES", "ClassScoreMetric", "class_counts", "class_score_handlers"]

CLASS_SCORES = ("iou", "dice", "recall", "precision")

ABSENT_CLASS_RULE = (
    "a class that neither label nor prediction has is left out of the scores of that image; a class that one of them "
    "has scores 0"
)
"""What a class's score is where its formula is 0/0."""

_PRED_AND_LABEL = from_engine(["pred", "label"])


def class_counts(pred: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Count each class's pixels in prediction and label, ``(B, 1, H, W)`` class numbers: ``(B, num_classes - 1, 3)``.

    In both, in the prediction, in the label; without the background.
    """
    check_pair(pred, label)
    for name, value in (("pred", pred), ("label", label)):
        if value.min() < 0 or value.max() >= num_classes:
            raise ValueError(f"{name} must hold class numbers 0 to {num_classes - 1}, got up to {value.max().item():g}")
    p, q = (value.flatten(1).long() for value in (pred, label))
    rows = torch.arange(len(p), device=p.device)[:, None] * num_classes
    length = len(p) * num_classes

    def count(values: Tensor) -> Tensor:
        return torch.bincount((values + rows).flatten(), minlength=length).reshape(len(p), num_classes)

    # where both agree, the class; elsewhere the background, which is not counted
    both = count(torch.where(p == q, p, 0))
    return torch.stack([both, count(p), count(q)], dim=2)[:, 1:]


def scores_from_class_counts(rows: Tensor, score: str, class_index: int | None = None) -> Tensor:
    """A score ``(N,)`` of one class, or the mean over classes, from :func:`class_counts` ``(N, (classes - 1) * 3)``.

    NaN where there is nothing to score (:data:`ABSENT_CLASS_RULE`).
    """
    both, pred, label = rows.double().reshape(len(rows), -1, 3).unbind(dim=2)
    denominators = {"iou": pred + label - both, "dice": (pred + label) / 2, "recall": label, "precision": pred}
    values = both / denominators[score].clamp(min=0.5)  # the smallest that is not 0
    values = values.where(pred + label > 0, torch.nan)
    return values[:, class_index - 1] if class_index is not None else values.nanmean(dim=1)


class ClassScoreMetric(ScoreMetric):
    """A score of each class, averaged over classes, of every image or of all pixels since the last reset.

    Classes that neither labels nor predictions have are left out; a class that one of them has scores 0. Pooled over
    the slices of one scan it is the overlap in the volume, at the size of the network's input: an organ is in some of
    the slices only, and a score of each slice would mostly be the rule for absent organs.

    Args:
        score: a name in ``CLASS_SCORES``.
        num_classes: with the background, which is not scored.
        class_index: score this class alone, 1 to ``num_classes - 1``; None averages over all.
        source: the metric whose counts to read, see :class:`~condseg_monai.metrics.score_metric.ScoreMetric`.
        per_image: score each image and average over those that have a class; False pools the pixels of all.

    Raises:
        ValueError: if an argument is out of range.
    """

    scores: ClassVar[tuple[str, ...]] = CLASS_SCORES

    def __init__(
        self,
        score: str,
        num_classes: int,
        class_index: int | None = None,
        source: ScoreMetric | None = None,
        per_image: bool = False,
    ) -> None:
        super().__init__(score, source)
        if num_classes < 2 or (class_index is not None and not 0 < class_index < num_classes):
            raise ValueError(
                f"num_classes must be at least 2 and class_index 1 to num_classes - 1, got {num_classes}, {class_index}"
            )
        self.num_classes = num_classes
        self.class_index = class_index
        self.per_image = per_image

    def aggregate(self) -> Tensor:
        """Average over the images, or score their pooled pixels: scalar float64; NaN if nothing has the class."""
        return super().aggregate() if self.per_image else self.pooled()

    def pooled(self) -> Tensor:
        """Score the pixels of all images as one: scalar float64."""
        return self._score(self._required_rows().sum(dim=0, keepdim=True)).squeeze()

    def _scores_from(self, rows: Tensor) -> dict[str, Tensor]:
        return {self.score: self._score(rows)}

    def _score(self, rows: Tensor) -> Tensor:
        return scores_from_class_counts(rows, self.score, self.class_index)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return class_counts(torch.as_tensor(y_pred), torch.as_tensor(self._required(y)), self.num_classes).flatten(1)


def class_score_handlers(
    class_names: Sequence[str],
    source: ScoreMetric,
    output_transform: Callable = _PRED_AND_LABEL,
    scores: Sequence[str] = ("dice",),
    suffix: str = "",
) -> dict[str, IgniteMetricHandler]:
    """Make the additional metrics of an evaluator: the mean over classes of a score, and that of each class.

    Args:
        class_names: background first.
        source: the metric that counts, attached to the same evaluator; it is the handler's metric of its own score.
        output_transform: gives prediction and label from the evaluator's output; by default ``pred`` and ``label``.
        scores: names in ``CLASS_SCORES``.
        suffix: ends the handlers' names.

    Returns:
        Handlers by name: ``val_mean_dice``, then ``val_dice_left_kidney`` and so on.
    """

    def metric(score: str, index: int | None) -> ScoreMetric:
        if index is None and score == source.score:
            return source
        return ClassScoreMetric(score, len(class_names), index, source, source.per_image)

    indices: dict[tuple[str, str], int | None] = {}
    for score in scores:
        indices[score, f"mean_{score}"] = None
        indices.update({(score, class_score(score, name)): i for i, name in enumerate(class_names) if i})
    return {
        f"val_{name}{suffix}": IgniteMetricHandler(metric(score, index), output_transform=output_transform)
        for (score, name), index in indices.items()
    }


def class_score(score: str, class_name: str) -> str:
    """The name of a class's score: ``dice_left_kidney``."""
    return f"{score}_{class_name.replace(' ', '_')}"
