"""Acceleration of inference: BatchNorm folding, channels last, torch.compile."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from condseg_monai.networks.batch_norm_folding import fold_batch_norm

__all__ = ["FastInference", "use_channels_last"]

_SIZE = 64


class FastInference:
    """Run a faster copy of the network while an evaluator runs: a handler, listed after what loads the weights.

    When a run starts, the network as it is then is copied, its BatchNorms are folded into the convolutions
    (:func:`~condseg_monai.fold_batch_norm`), and it is laid out and compiled as asked. When the run ends, the evaluator
    has its own network back, so that new weights are never missed. Predictions are the same up to rounding. A network
    that cannot be folded runs as it is, with a warning.

    Args:
        channels_last: keep tensors with the channels of a pixel next to each other.
        compile: compile with ``torch.compile``. On a GPU, with CUDA graphs. The first batch then waits for the
            compiler, and a last, smaller batch once more. On a CPU that takes many minutes and was not seen to pay,
            which a warning says.
    """

    def __init__(self, channels_last: bool = False, compile: bool = False) -> None:
        self.channels_last = channels_last
        self.compile = compile
        self._network: nn.Module | None = None

    def attach(self, engine: Engine) -> None:
        """Exchange the network when ``engine`` starts and put it back when it has ended.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.COMPLETED, self.stop)

    def start(self, engine: Engine) -> None:
        """Make the faster copy and give it to ``engine``.

        Args:
            engine: the evaluator.
        """
        evaluator: Any = engine
        if self._network is not None:  # the run before was cut short
            evaluator.network = self._network
        self._network = evaluator.network
        evaluator.network = faster_copy(
            getattr(evaluator.network, "module", evaluator.network), self.channels_last, self.compile
        )

    def stop(self, engine: Engine) -> None:
        """Give ``engine`` its own network back.

        Args:
            engine: the evaluator.
        """
        if self._network is not None:
            evaluator: Any = engine
            evaluator.network, self._network = self._network, None


def faster_copy(network: nn.Module, channels_last: bool = False, compile: bool = False) -> nn.Module:
    """Copy a network for evaluation, with BatchNorms folded where that is possible, laid out and compiled as asked."""
    weight = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, getattr(network, "in_channels", 3), _SIZE, _SIZE, generator=generator).to(weight)
    try:
        copied = fold_batch_norm(network, image)
    except ValueError as error:
        logging.getLogger(__name__).warning(f"{error}; inference is slower, not different")
        copied = copy.deepcopy(network)
    copied = use_channels_last(copied, channels_last)
    if compile:
        if weight.device.type == "cpu":
            logging.getLogger(__name__).warning(
                "compiling this network for a CPU takes many minutes, before the first batch, and made it no faster "
                "where it was measured; channels_last does (docs/performance.md)"
            )
        copied = torch.compile(copied, mode="reduce-overhead" if weight.is_cuda else None)  # type: ignore[assignment]
    return copied


def use_channels_last(network: nn.Module, channels_last: bool) -> nn.Module:
    """Lay the weights of a network out with channels last, if asked; its convolutions then work in that layout.

    Args:
        network: a network; it is changed in place.
        channels_last: whether to.

    Returns:
        ``network``.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
