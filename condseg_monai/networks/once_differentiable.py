"""Backward passes that cannot be differentiated themselves, and say so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["once_differentiable"]


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse ``create_graph=True`` in a backward pass that cannot be differentiated itself.

    PyTorch's decorator of this name raises later, when the second derivative is computed, and only if the incoming
    gradient requires one. That of ``output.sum()`` does not: a penalty on gradients would have none, without a word.

    Args:
        backward: the static method of a ``torch.autograd.Function``.

    Returns:
        ``backward``, which raises a RuntimeError under ``create_graph=True``.
    """

    @functools.wraps(backward)
    def refuse_or_call(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{ctx.name()} can be differentiated once, so create_graph=True does not go through it: CDFA's window "
                "attention has no other way; elsewhere set lean = False on every LeanModule and low_resolution = False "
                "on every UpsampledConv2d"
            )
        return backward(ctx, *gradients)

    return refuse_or_call
