"""Every random state that a training run draws from, as plain values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["random_state", "restore_random_state"]


def random_state(dataset: Any, device: torch.device) -> dict[str, Any]:
    """Read the generators of this process: Python, NumPy, torch, the GPU in use, and MONAI's random transforms.

    The order of a shuffling sampler and the seeds of DataLoader workers are drawn from torch's generator when an epoch
    begins, so between two epochs these states say all about the next one, as long as workers do not outlive an epoch
    (``persistent_workers`` off).

    Args:
        dataset: the training data set; every ``RandomState`` held by its transforms is read.
        device: where training runs.

    Returns:
        ``python``, ``numpy``, ``torch``, ``cuda`` (None on other devices) and ``transforms``, of tensors and plain
        values, which ``torch.load(weights_only=True)`` accepts.
    """
    return {
        "python": random.getstate(),
        "numpy": _pack(np.random.get_state()),  # noqa: NPY002 - the generator that libraries draw from
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "transforms": [_pack(generator.get_state()) for generator in _generators(dataset, set())],
    }


def restore_random_state(state: dict[str, Any], dataset: Any, device: torch.device) -> None:
    """Put the generators back to where :func:`random_state` read them.

    Args:
        state: what :func:`random_state` returned.
        dataset: a data set with the same transforms.
        device: where training runs; a state of another kind of device leaves its generator as it is.

    Raises:
        ValueError: if the data set has more or fewer random transforms than the one whose state was read.
    """
    generators = list(_generators(dataset, set()))
    if len(generators) != len(state["transforms"]):
        raise ValueError(
            f"dataset has {len(generators)} random generators in its transforms, the saved state "
            f"{len(state['transforms'])}: resume with the transforms that the run began with"
        )
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(_unpack(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    for generator, packed in zip(generators, state["transforms"], strict=True):
        generator.set_state(_unpack(packed))


def _pack(state: Any) -> list[Any]:
    name, keys, position, has_gauss, cached_gauss = state
    return [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached_gauss)]


def _unpack(packed: list[Any]) -> tuple[Any, ...]:
    name, keys, *rest = packed
    return (name, keys.numpy().astype(np.uint32), *rest)


def _generators(holder: Any, seen: set[int]) -> Iterator[np.random.RandomState]:
    """Find generators where ``monai.data.utils.set_rnd`` seeds them: in attributes, lists and tuples, not in dicts."""
    if isinstance(holder, np.random.RandomState):
        if id(holder) not in seen:
            seen.add(id(holder))
            yield holder
    elif isinstance(holder, (list, tuple)):
        for item in holder:
            yield from _generators(item, seen)
    elif hasattr(holder, "__dict__") and not isinstance(holder, (Tensor, type, ModuleType)) and id(holder) not in seen:
        seen.add(id(holder))
        for value in list(vars(holder).values()):
            yield from _generators(value, seen)
