"""What a network's classes are called, inside its state_dict: a checkpoint says it wherever it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["CLASS_NAMES_KEY", "class_names_of", "name_classes", "set_class_names"]

CLASS_NAMES_KEY = "class_names"
"""The key of a state_dict that holds the names: a ``uint8`` tensor, JSON in UTF-8.

A tensor, because that is what everything that handles checkpoints can handle: ``torch.load(weights_only=True)``, strict
loading, TorchScript, several processes. Loading a checkpoint replaces the network's names by those it was trained with.
"""


def set_class_names(network: nn.Module, class_names: Sequence[str]) -> None:
    """Give a network's state_dict the names of its classes.

    Args:
        network: gets a buffer under :data:`CLASS_NAMES_KEY`.
        class_names: a name per output channel, background first.

    Raises:
        ValueError: if there are fewer than two names, an empty one, or one twice.

    Example:
        >>> network = nn.Conv2d(1, 3, 1)
        >>> set_class_names(network, ["background", "liver", "spleen"])
        >>> class_names_of(network.state_dict())
        ('background', 'liver', 'spleen')
    """
    names = [str(name) for name in class_names]
    if isinstance(class_names, str) or len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"class_names must be two or more different names, background first, got {class_names!r}")
    text = json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode()
    network.register_buffer(CLASS_NAMES_KEY, torch.tensor(list(text), dtype=torch.uint8))


def name_classes(network: nn.Module, class_names: Sequence[str] | None, out_channels: int) -> None:
    """What a network's constructor does with its argument ``class_names``: nothing if it is None.

    Raises:
        ValueError: as :func:`set_class_names` does, or if there is not a name per output channel.
    """
    if class_names is None:
        return
    set_class_names(network, class_names)
    if len(class_names) != out_channels:
        raise ValueError(f"class_names must be one per output channel ({out_channels}), got {list(class_names)}")


def class_names_of(source: nn.Module | Mapping[str, Any]) -> tuple[str, ...] | None:
    """Read the names that :func:`set_class_names` wrote.

    Args:
        source: a network, also inside ``DistributedDataParallel``, or a state_dict.

    Returns:
        A name per output channel, background first; None if there are none.

    Raises:
        ValueError: if the key is there and holds something else.
    """
    if isinstance(source, nn.Module):
        inner = getattr(source, "module", source)
        value = dict(inner.named_buffers(recurse=False)).get(CLASS_NAMES_KEY)
    else:
        value = source.get(CLASS_NAMES_KEY)
    if value is None:
        return None
    try:
        names = json.loads(bytes(value.tolist()).decode())
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{CLASS_NAMES_KEY} is not a list of names in JSON, as bytes: {error}") from error
    return tuple(str(name) for name in names)
