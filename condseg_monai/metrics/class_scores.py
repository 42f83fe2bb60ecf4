"""IoU and Dice of several classes, pooled over slices, for validation while training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from condseg_monai.metrics.score_metric import ScoreMetric, check_pair

__all__ = ["ClassScoreMetric", "class_counts", "class_score_handlers"]


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


class ClassScoreMetric(ScoreMetric):
    """IoU or Dice of each class, its pixels pooled over all images since the last reset, then averaged over classes.

    Pooled, because an organ is in some of the slices only: a score of each slice would mostly be the rule for absent
    organs. Of the slices of one scan it is the overlap in the volume, at the size of the network's input. Classes that
    neither labels nor predictions have are left out; a class that one of them has scores 0.

    Args:
        score: ``"iou"`` or ``"dice"``.
        num_classes: with the background, which is not scored.
        class_index: score this class alone, 1 to ``num_classes - 1``; None averages over all.
        source: the metric whose counts to read, see :class:`~condseg_monai.metrics.score_metric.ScoreMetric`.

    Raises:
        ValueError: if an argument is out of range.
    """

    scores: ClassVar[tuple[str, ...]] = ("iou", "dice")
    per_image: ClassVar[bool] = False

    def __init__(
        self, score: str, num_classes: int, class_index: int | None = None, source: ScoreMetric | None = None
    ) -> None:
        super().__init__(score, source)
        if num_classes < 2 or (class_index is not None and not 0 < class_index < num_classes):
            raise ValueError(
                f"num_classes must be at least 2 and class_index 1 to num_classes - 1, got {num_classes}, {class_index}"
            )
        self.num_classes = num_classes
        self.class_index = class_index

    def aggregate(self) -> Tensor:
        """Score the pooled pixels: scalar float64; NaN if no label and no prediction has the class, or any."""
        return self._score(self._required_rows().sum(dim=0, keepdim=True)).squeeze()

    def _scores_from(self, rows: Tensor) -> dict[str, Tensor]:
        return {self.score: self._score(rows)}

    def _score(self, rows: Tensor) -> Tensor:
        """``(N,)`` from counts ``(N, (num_classes - 1) * 3)``; NaN where there is nothing to score."""
        both, pred, label = rows.double().reshape(len(rows), self.num_classes - 1, 3).unbind(dim=2)
        denominator = (pred + label) / 2 if self.score == "dice" else pred + label - both
        values = both / denominator  # 0 / 0 is NaN: the class is in neither
        return values[:, self.class_index - 1] if self.class_index is not None else values.nanmean(dim=1)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return class_counts(torch.as_tensor(y_pred), torch.as_tensor(self._required(y)), self.num_classes).flatten(1)


def class_score_handlers(
    class_names: Sequence[str], source: ClassScoreMetric, output_transform: Callable = _PRED_AND_LABEL
) -> dict[str, IgniteMetricHandler]:
    """Make the additional metrics of an evaluator: mean Dice, and Dice of each class.

    Args:
        class_names: background first.
        source: the metric that counts, attached to the same evaluator.
        output_transform: gives prediction and label from the evaluator's output; by default ``pred`` and ``label``.

    Returns:
        Handlers by name: ``val_mean_dice``, then ``val_dice_left_kidney`` and so on.
    """
    indices: dict[str, int | None] = {"val_mean_dice": None}
    indices.update({f"val_dice_{name.replace(' ', '_')}": index for index, name in enumerate(class_names) if index})
    return {
        name: IgniteMetricHandler(
            metric_fn=ClassScoreMetric("dice", len(class_names), index, source), output_transform=output_transform
        )
        for name, index in indices.items()
    }
