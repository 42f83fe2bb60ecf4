"""Backward passes that have none themselves, and say so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["once_differentiable"]


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Like PyTorch's decorator of this name, which cuts the graph without a word where ``create_graph`` is asked for.

    Args:
        backward: the static method of a ``torch.autograd.Function``.

    Returns:
        ``backward``, which raises a RuntimeError under ``create_graph=True``.
    """
    once = torch.autograd.function.once_differentiable(backward)

    @functools.wraps(backward)
    def refuse_or_call(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{ctx.name()} can be differentiated once, so create_graph=True does not go through it: set lean = "
                "False on every LeanModule and low_resolution = False on every UpsampledConv2d; CDFA has no other way"
            )
        return once(ctx, *gradients)

    return refuse_or_call
