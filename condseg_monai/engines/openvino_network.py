"""A network that OpenVINO runs, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.utils import optional_import
from torch import Tensor, nn

__all__ = ["OpenVINONetwork", "check_openvino"]

openvino, _has_openvino = optional_import("openvino")


class OpenVINONetwork(nn.Module):
    """Let OpenVINO run a network's ``forward`` in float32; everything else of the network is PyTorch's.

    The network is traced and compiled for each shape of input when the first such batch comes, about ten seconds.
    As many threads work as PyTorch has.

    Args:
        network: a network in evaluation mode on the CPU, whose ``forward`` maps one tensor to one tensor.

    Raises:
        ImportError: if OpenVINO is not installed.
        ValueError: if the network is on another device.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        check_openvino()
        device = next(network.parameters()).device
        if device.type != "cpu":
            raise ValueError(f"OpenVINO runs the network on the CPU, but it is on {device}: add --device cpu")
        self.network = network
        self._compiled: dict[tuple[int, ...], Callable[..., Any]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map what the network takes to what it returns."""
        shape = tuple(x.shape)
        if shape not in self._compiled:
            self._compiled[shape] = _compile(self.network, x)
        return torch.from_numpy(self._compiled[shape](x.contiguous().numpy())[0].copy())

    def __getattr__(self, name: str) -> Any:
        """What the network has besides ``forward``, such as ``predict_regions``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


def check_openvino() -> None:
    """Raise ImportError, with what to install, if there is no OpenVINO."""
    if not _has_openvino:
        raise ImportError('openvino is not installed: pip install "condseg_monai[openvino]"')


def _compile(network: nn.Module, x: Tensor) -> Callable[..., Any]:
    with torch.no_grad():
        traced = torch.jit.trace(network, x, check_trace=False)
    model = openvino.convert_model(traced, example_input=x, input=[tuple(x.shape)])
    # float32 whatever the processor would rather have: the predictions stay the same up to rounding.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled: Callable[..., Any] = openvino.compile_model(model, "CPU", options)
    return compiled
