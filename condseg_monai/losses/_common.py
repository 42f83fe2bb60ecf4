"""Argument checks and precision of the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

Terms = dict[str, Tensor]
INFINITY = float("inf")

_INTERVALS: dict[str, Callable[[float], bool]] = {  # no comparison holds for NaN
    "[0, 1]": lambda value: 0 <= value <= 1,
    "(0, 1)": lambda value: 0 < value < 1,
    "[0, inf)": lambda value: 0 <= value < INFINITY,
    "(0, inf)": lambda value: 0 < value < INFINITY,
    "(1, inf)": lambda value: 1 < value < INFINITY,
}


def check_number(name: str, value: float, interval: str) -> float:
    """Return ``value`` if it is in the interval, a key of the table above, else raise ValueError."""
    if not _INTERVALS[interval](value):
        raise ValueError(f"{name} must be in {interval}, got {value}")
    return value


def check_logits(name: str, value: Tensor, channels: int | None = None) -> None:
    """Raise unless ``value`` is a non-empty floating point ``(B, channels, H, W)``; None: any number of channels.

    Only shape and type are checked: a check of the values would make the GPU wait in every step.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.ndim != 4 or value.numel() == 0 or channels not in (None, value.shape[1]):
        raise ValueError(f"{name} must be (B, {channels or 'C'}, H, W) and not empty, got {tuple(value.shape)}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {value.dtype}; labels belong in target")


def check_target(target: Tensor, name: str, logits: Tensor) -> None:
    """Raise unless ``target`` is ``(B, 1, H, W)`` for logits ``(B, C, H, W)``: for C >= 2 class numbers (CPU only)."""
    if not isinstance(target, Tensor) or target.is_complex():
        found = getattr(target, "dtype", type(target).__name__)
        raise TypeError(f"target must be a boolean, integer or floating point tensor, got {found}")
    if target.shape != (logits.shape[0], 1, *logits.shape[2:]):
        raise ValueError(
            f"target must be (B, 1, H, W) for {name} (B, C, H, W), got {tuple(target.shape)} and {tuple(logits.shape)}"
        )
    if logits.shape[1] == 1 or target.device.type != "cpu":
        return
    last = logits.shape[1] - 1
    if target.min() < 0 or target.max() > last or not torch.equal(target, target.long().to(target.dtype)):
        raise ValueError(
            f"target must hold class numbers 0 to {last}, as many as {name} has channels, got values from "
            f"{target.min().item():g} to {target.max().item():g}"
        )


def check_same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless both tensors have the same shape; nothing is broadcast."""
    if value.shape != other.shape:
        raise ValueError(
            f"{name} and {other_name} must have the same shape, got {tuple(value.shape)} and {tuple(other.shape)}"
        )


@contextmanager
def full_precision(first: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Switch autocast off and yield the tensors in one type: float32, or float64 if ``first`` is float64."""
    device_type = first.device.type
    available = torch.amp.is_autocast_available(device_type)
    dtype = torch.promote_types(first.dtype, torch.float32)
    with torch.autocast(device_type, enabled=False) if available else nullcontext():
        yield tuple(tensor.to(dtype) for tensor in (first, *others))
