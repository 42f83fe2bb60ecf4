"""Consistency loss: how far the predictions of two views of an image are apart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.losses._common import check_logits, check_number, check_same_shape, full_precision
from condseg_monai.losses.semi_supervised import probability_distance

__all__ = ["consistency_loss"]

_KINDS = ("bce", "kl", "js", "mse")


def consistency_loss(clean: Tensor, augmented: Tensor, threshold: float = 0.5, kind: str = "bce") -> Tensor:
    """Measure, per pixel, how far the predictions of two views are apart.

    Source: ConDSeg (AAAI 2025), Eq. 5 and 6, and the alternatives of its Fig. 7. By ``kind``:

    - ``bce``: the cross-entropy of each view's prediction against the other view's binarised prediction, averaged over
      both, factor 1/2 included, which the released code leaves out. For C classes the threshold of Eq. 5 becomes the
      arg-max. The decisions are constants without gradient. A pixel that is foreground in a share q of similar images,
      and under the threshold in both views, is drawn to 2q / 3: it crosses 1/2 only if q is above 3/4.
    - ``kl``: the mean of both Kullback-Leibler divergences between the two predictions.
    - ``js``: their Jensen-Shannon divergence.
    - ``mse``: the mean squared difference of their probabilities.

    The paper does not say where the gradient of the latter three goes: here through both views.

    Args:
        clean: ``(B, C, H, W)`` logits of the clean views. Computed in float32 (float64 stays).
        augmented: ``(B, C, H, W)`` logits of the augmented views, in the same order.
        threshold: of ``bce``, the probability, in (0, 1), from which (included) a pixel is foreground; several classes
            have none.
        kind: one of the four.

    Returns:
        Scalar >= 0, symmetric in its two views: 0 when both are certain and agree everywhere; all kinds but ``bce`` are
        0 whenever both are equal. ``js`` is at most log 2, ``mse`` at most 1.

    Raises:
        TypeError: if a view is not floating point.
        ValueError: if the shapes are not these, ``threshold`` is out of range, or ``kind`` is unknown.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 1, 4, 4)  # probability 1/2 counts as foreground: -log(1/2)
        >>> round(consistency_loss(logits, logits).item(), 4)
        0.6931
    """
    check_logits("clean", clean)
    check_logits("augmented", augmented)
    check_same_shape("clean", clean, "augmented", augmented)
    check_number("threshold", threshold, "(0, 1)")
    if check_kind(kind) == "mse":
        return probability_distance(clean, augmented)
    with full_precision(clean, augmented) as (first, second):
        if kind != "bce":
            return _divergence(_log_probs(first), _log_probs(second), kind)
        if first.shape[1] > 1:
            from_second = F.cross_entropy(first, second.argmax(dim=1))
            from_first = F.cross_entropy(second, first.argmax(dim=1))
        else:
            cut = math.log(threshold / (1 - threshold))  # as a logit: exact where a rounded sigmoid would not be
            from_second = F.binary_cross_entropy_with_logits(first, (second >= cut).to(first))
            from_first = F.binary_cross_entropy_with_logits(second, (first >= cut).to(second))
        return 0.5 * (from_second + from_first)


def check_kind(kind: str) -> str:
    """Return ``kind`` if it is one of the four, else raise ValueError."""
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    return kind


def _log_probs(logits: Tensor) -> Tensor:
    """Logarithms of the probabilities of all classes, of a binary mask background and foreground."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.log_softmax(dim=1)


def _divergence(first: Tensor, second: Tensor, kind: str) -> Tensor:
    """Mean over pixels of half the divergences of both from the other, or from their mean."""
    if kind == "kl":
        return 0.5 * ((first.exp() - second.exp()) * (first - second)).sum(dim=1).mean()
    middle = torch.logaddexp(first, second) - math.log(2)
    return 0.5 * (first.exp() * (first - middle) + second.exp() * (second - middle)).sum(dim=1).mean()
