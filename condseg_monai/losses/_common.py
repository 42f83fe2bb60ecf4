"""Argument checks, precision and reduction of the losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

Terms = dict[str, Tensor]


def check_map(name: str, value: Tensor, *, channels: int | None = 1) -> None:
    """Raise unless ``value`` is a non-empty ``(B, channels, H, W)`` tensor; None: at least two channels.

    Only shape and type are checked: a check of the values would make the GPU wait in every step.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    fits = value.ndim == 4 and (value.shape[1] >= 2 if channels is None else value.shape[1] == channels)
    if not fits or value.numel() == 0:
        wanted = "(B, C, H, W) with C >= 2" if channels is None else f"(B, {channels}, H, W)"
        raise ValueError(f"{name} must be {wanted} and not empty, got {tuple(value.shape)}")


def check_floating(name: str, value: Tensor, *, channels: int | None = 1) -> None:
    """Raise unless ``value`` is floating point and as :func:`check_map` has it."""
    check_map(name, value, channels=channels)
    if not value.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {value.dtype}; labels belong in target")


def check_target(name: str, value: Tensor) -> None:
    """Raise unless ``value`` is a non-empty ``(B, 1, H, W)`` tensor of numbers or booleans."""
    check_map(name, value)
    if value.is_complex():
        raise TypeError(f"{name} must be boolean, integer or floating point, got {value.dtype}")


def check_class_target(name: str, value: Tensor, logits_name: str, logits: Tensor) -> None:
    """Raise unless ``value`` is ``(B, 1, H, W)`` for ``(B, C, H, W)`` logits and, on the CPU, has class numbers."""
    check_target(name, value)
    if value.shape != (logits.shape[0], 1, *logits.shape[2:]):
        raise ValueError(
            f"{name} must be (B, 1, H, W) for {logits_name} (B, C, H, W), "
            f"got {tuple(value.shape)} and {tuple(logits.shape)}"
        )
    if value.device.type == "cpu":
        classes = logits.shape[1]
        if value.min() < 0 or value.max() >= classes or not torch.equal(value, value.long().to(value.dtype)):
            raise ValueError(
                f"{name} must hold class numbers 0 to {classes - 1}, as many as {logits_name} has channels, got values "
                f"from {value.min().item():g} to {value.max().item():g}"
            )


def check_same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless both tensors have the same shape; nothing is broadcast."""
    if value.shape != other.shape:
        raise ValueError(
            f"{name} and {other_name} must have the same shape, got {tuple(value.shape)} and {tuple(other.shape)}"
        )


def check_weight(name: str, value: float) -> float:
    """Return ``value`` if it is finite and not negative, else raise."""
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be finite and not negative, got {value}")
    return value


def check_balance(name: str, value: float) -> float:
    """Return ``value`` if it is in [0, 1], else raise."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
    return float(value)


def check_threshold(value: float) -> float:
    """Return ``value`` if it is in (0, 1), else raise."""
    if not 0 < value < 1:
        raise ValueError(f"threshold must be between 0 and 1 (both excluded), got {value}")
    return value


@contextmanager
def full_precision(first: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Switch autocast off and yield the tensors in one type: float32, or float64 if ``first`` is float64."""
    device_type = first.device.type
    available = torch.amp.is_autocast_available(device_type)
    dtype = torch.promote_types(first.dtype, torch.float32)
    with torch.autocast(device_type, enabled=False) if available else nullcontext():
        yield tuple(tensor.to(dtype) for tensor in (first, *others))


class PerImageLoss(nn.Module):
    """Base class of the mask losses: cross-entropy plus Dice per image, and their reduction."""

    def __init__(self, reduction: str = "mean", lambda_ce: float = 1.0, balance: float = 0.0) -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction
        self.lambda_ce = check_weight("lambda_ce", lambda_ce)
        self.balance = check_balance("balance", balance)

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"reduction={self.reduction!r}, lambda_ce={self.lambda_ce}, balance={self.balance}"


def balanced_mean(losses: Tensor, members: Tensor, balance: float) -> Tensor:
    """Average the losses of each image's pixels, weighing a pixel of a class of n pixels ``n ** -balance``.

    Args:
        losses: ``(B, 1, H, W)``.
        members: ``(B, C, H, W)`` membership of each class, summing to 1 over dim 1.
        balance: in [0, 1].

    Returns:
        ``(B,)``.
    """
    sizes = members.sum(dim=(2, 3), keepdim=True).clamp(min=1)  # 0 ** -balance of an absent class would be infinite
    weights = (members * sizes**-balance).sum(dim=1, keepdim=True)
    return (weights * losses).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))


def check_reduction(reduction: str) -> None:
    """Raise unless :func:`reduce_images` knows it."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def reduce_images(per_image: Tensor, reduction: str) -> Tensor:
    """Turn one value per image, ``(B,)``, into their ``"mean"`` or ``"sum"``, or leave them (``"none"``)."""
    check_reduction(reduction)
    if reduction == "mean":
        return per_image.mean()
    return per_image.sum() if reduction == "sum" else per_image
