"""Class names inside a network's state_dict, so that every checkpoint has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["class_names_of", "set_class_names"]

# JSON in UTF-8, as a uint8 tensor: what torch.load(weights_only=True), strict loading and TorchScript can handle.
CLASS_NAMES_KEY = "class_names"


def set_class_names(network: nn.Module, class_names: Sequence[str] | None, channels: int | None = None) -> None:
    """Give a network's state_dict the names of its classes, in a buffer of that name.

    Args:
        network: is changed in place.
        class_names: a name per output channel, background first; None to do nothing.
        channels: how many names there have to be, if it is known.

    Raises:
        ValueError: if there are fewer than two names, an empty one, one twice, or not one per channel.

    Example:
        >>> network = nn.Conv2d(1, 3, 1)
        >>> set_class_names(network, ["background", "liver", "spleen"])
        >>> class_names_of(network.state_dict())
        ('background', 'liver', 'spleen')
    """
    if class_names is None:
        return
    names = [str(name) for name in class_names]
    if isinstance(class_names, str) or len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"class_names must be two or more different names, background first, got {class_names!r}")
    if channels not in (None, len(names)):
        raise ValueError(f"class_names must be one per output channel ({channels}), got {names}")
    text = json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode()
    network.register_buffer(CLASS_NAMES_KEY, torch.tensor(list(text), dtype=torch.uint8))


def class_names_of(source: nn.Module | Mapping[str, Any]) -> tuple[str, ...] | None:
    """Read the class names of a network, also inside ``DistributedDataParallel``, or of a state_dict.

    Returns:
        A name per output channel, background first; None if there are none.

    Raises:
        ValueError: if there is something else under the key ``class_names``.
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
