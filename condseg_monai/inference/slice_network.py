"""2D network on the slices of a volume, for programs that give a network the whole volume."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.data.images.normalization import mean_and_std
from condseg_monai.networks.class_names import CLASS_NAMES_KEY, class_names_of, set_class_names

__all__ = ["SliceNetwork"]

_PREFIX = "network."


class SliceNetwork(nn.Module):
    """2D network as a network of volumes: it segments the slices along the last axis, a batch of them at a time.

    Its ``state_dict`` is that of the 2D network, so that checkpoints fit both.

    Args:
        network: takes ``(B, in_channels, H, W)`` and gives, in evaluation, one tensor ``(B, C, H, W)``.
        in_channels: how often the grey slice is repeated.
        normalization: of the slices, see :func:`~condseg_monai.data.images.normalization.normalize_image`.
        batch_size: slices in one pass.

    Raises:
        ValueError: if ``batch_size`` is not positive.
    """

    def __init__(
        self, network: nn.Module, in_channels: int = 3, normalization: str = "imagenet", batch_size: int = 8
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.network = network
        self.batch_size = batch_size
        mean, std = mean_and_std(torch.zeros(in_channels, 1, 1), normalization)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_state_dict_post_hook(_as_network)
        self.register_load_state_dict_pre_hook(_as_ours)

    def forward(self, image: Tensor) -> Tensor:
        """Segment volumes.

        Args:
            image: ``(B, 1, H, W, D)``, windowed to [0, 1].

        Returns:
            Logits ``(B, C, H, W, D)``.
        """
        slices = image.movedim(-1, 1).flatten(0, 1)  # (B D, 1, H, W)
        logits = [self.network((part - self.mean) / self.std) for part in slices.split(self.batch_size)]
        return torch.cat(logits).unflatten(0, [image.shape[0], image.shape[-1]]).movedim(1, -1)


def _as_network(module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]) -> None:
    for key in [key for key in state if key.startswith(prefix + _PREFIX)]:
        state[prefix + key.removeprefix(prefix + _PREFIX)] = state.pop(key)


def _as_ours(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own = {name for name, _ in module.named_buffers(recurse=False)}
    key, inner = prefix + CLASS_NAMES_KEY, module.get_submodule("network")
    if key in state and CLASS_NAMES_KEY not in dict(inner.named_buffers(recurse=False)):
        set_class_names(module, class_names_of({CLASS_NAMES_KEY: state[key]}))  # trainings on CT save them
        own.add(CLASS_NAMES_KEY)
    for key in [key for key in state if key.startswith(prefix) and key.removeprefix(prefix) not in own]:
        state[prefix + _PREFIX + key.removeprefix(prefix)] = state.pop(key)
