from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

SHAPE = (3, 1, 5, 7)


def _logits(shape: tuple[int, ...], seed: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def target() -> Tensor:
    """Three labels: a mixed one, an empty one, a full one."""
    labels = torch.zeros(SHAPE, dtype=torch.float64)
    labels[0, 0, 1:4, 2:6] = 1
    labels[2] = 1
    return labels


@pytest.fixture
def make_logits() -> Callable[[int], Tensor]:
    """Float64 logits shaped like the target, different for each seed."""
    return partial(_logits, SHAPE)


@pytest.fixture
def class_target() -> Tensor:
    """Three labels of four classes: all of them, background alone, two of them."""
    labels = torch.zeros(SHAPE, dtype=torch.int64)
    labels[0, 0] = torch.arange(35).reshape(5, 7) % 4
    labels[2, 0, 1:4] = 3
    return labels


@pytest.fixture
def class_logits() -> Callable[[int], Tensor]:
    """Float64 logits of four classes in the size of the target, different for each seed."""
    return partial(_logits, (3, 4, 5, 7))
