"""Base class of the engine metrics: several scores of every image from one pass over the masks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

__all__ = ["ScoreMetric"]


class ScoreMetric(CumulativeIterationMetric):
    """One score of every image, and its average over images, for a MONAI engine.

    Calling it measures a batch; :meth:`aggregate` averages the images' scores and :meth:`get_buffer` returns them one
    by one, gathered over all processes of a distributed run. A metric with a ``source`` measures nothing itself: it
    reads its score off the measurements of ``source``, so that several scores cost one pass over the masks. ``source``
    must then be attached to the same engine.

    Args:
        score: a name in :attr:`scores`.
        source: the metric of the same class whose measurements to read; ``None`` measures itself.

    Raises:
        ValueError: if ``score`` is unknown, or ``source`` reads from another metric itself.
        TypeError: if ``source`` measures something else.
    """

    scores: ClassVar[tuple[str, ...]] = ()
    """The scores that one pass gives."""

    per_image: bool = True
    """Whether an image's score is its own, so that the mean over images has an interval."""

    def __init__(self, score: str, source: ScoreMetric | None = None) -> None:
        super().__init__()
        if score not in self.scores:
            raise ValueError(f"score must be one of {', '.join(self.scores)}, got {score!r}")
        if source is not None and type(source) is not type(self):
            raise TypeError(f"source must be a {type(self).__name__}, got {type(source).__name__}")
        if source is not None and source.source is not None:
            raise ValueError(f"source must measure by itself, got one that reads from {source.source.score!r}")
        self.score: str = score
        self.source: ScoreMetric | None = source

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        """Measure one batch, unless a ``source`` does.

        Args:
            y_pred: predictions ``(B, 1, H, W)`` or a list of ``(1, H, W)`` of any sizes.
            y: true masks in the same form.
            **kwargs: ignored; part of MONAI's signature.

        Returns:
            The measurements of this batch, a row per image, or ``None`` if ``source`` measures.
        """
        return super().__call__(y_pred, y, **kwargs) if self.source is None else None

    def measurements(self) -> Tensor | None:
        """Return a row per image seen since the last reset, on all processes, or ``None`` before the first batch."""
        if self.source is not None:
            return self.source.measurements()
        # MONAI keeps the tensor type it was given, so a MetaTensor may come back here.
        rows = super().get_buffer()
        return None if rows is None else torch.as_tensor(rows)

    def get_buffer(self) -> Tensor | None:
        """Return the scores ``(N, 1)``, float64, of all images since the last reset, or ``None`` if there are none."""
        rows = self.measurements()
        return None if rows is None else self._scores_from(rows)[self.score].unsqueeze(1)

    def aggregate(self) -> Tensor:
        """Average the score over the images that have one.

        Returns:
            Scalar float64; NaN if the score is NaN for every image.

        Raises:
            RuntimeError: if no image was measured.
        """
        return self._scores_from(self._required_rows())[self.score].nanmean()

    def _required_rows(self) -> Tensor:
        rows = self.measurements()
        if rows is None:
            raise RuntimeError(
                f"no image was counted for score {self.score!r}: the validation set is empty, or source is not "
                "attached to the same engine"
            )
        return rows

    def _required(self, y: Tensor | None) -> Tensor:
        if y is None:
            raise ValueError("y is missing: a score needs the label beside the prediction")
        return y

    def _scores_from(self, rows: Tensor) -> dict[str, Tensor]:
        """The scores by name, each ``(N,)``; here the columns of the rows."""
        return dict(zip(self.scores, rows.to(torch.float64).unbind(dim=1), strict=True))


def check_pair(pred: Tensor, label: Tensor) -> None:
    """Raise unless both are ``(B, 1, H, W)`` of one size."""
    if pred.shape != label.shape or pred.ndim != 4 or pred.shape[1] != 1:
        raise ValueError(
            f"pred and label must both be (B, 1, H, W), got pred {tuple(pred.shape)} and label {tuple(label.shape)}"
        )
