"""A network that OpenVINO runs, on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["OpenVINONetwork", "check_openvino"]

_MOST_SIZES = 4


class OpenVINONetwork(nn.Module):
    """Let OpenVINO run a network's ``forward`` in float32; everything else of the network is PyTorch's.

    The network is traced and compiled, with the weights it has then, when the first batch of a size comes: that takes
    seconds. A smaller batch of that size, such as the last, is filled up with zeros and costs as much as a full one; a
    larger one compiles anew. Four sizes are kept. As many threads work as PyTorch has, and no gradient goes through.
    OpenVINO's telemetry is left out: nothing is sent. A copy compiles for itself.

    Args:
        network: a network in evaluation mode on the CPU, whose ``forward`` maps a batch of images ``(B, C, H, W)`` to
            one tensor, each image by itself.

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
        # Size of an image: the batch it was compiled for, and what runs it.
        self._compiled: dict[tuple[int, ...], tuple[int, Callable[..., Any]]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map what the network takes to what it returns."""
        x = x.detach()
        size, images = tuple(x.shape[1:]), len(x)
        batch, run = self._compiled.pop(size, (0, None))
        if run is None or batch < images:
            batch, run = images, _compile(self.network, x)
        self._compiled[size] = batch, run  # behind all others: the first is the one not used for longest
        if len(self._compiled) > _MOST_SIZES:
            del self._compiled[next(iter(self._compiled))]
        filled = torch.cat([x, x.new_zeros(batch - images, *size)]) if images < batch else x.contiguous()
        return torch.from_numpy(run(filled.numpy())[0][:images].copy())

    def __getattr__(self, name: str) -> Any:
        """What the network has besides ``forward``, such as ``predict_regions``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: everything but what was compiled, which cannot be copied."""
        return {**self.__dict__, "_compiled": {}}


def check_openvino() -> None:
    """Raise ImportError, with what to install, if there is no OpenVINO."""
    if find_spec("openvino") is None:
        raise ImportError('openvino is not installed: pip install "condseg_monai[openvino]"')


def _import_openvino() -> Any:
    """Import OpenVINO without its converter ``openvino.tools.ovc``, which reports its import and every use to Intel."""
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        return import_module("openvino")
    sys.modules[converter] = None  # type: ignore[assignment]  # importing it fails, which OpenVINO allows for
    try:
        return import_module("openvino")
    finally:
        del sys.modules[converter]


def _compile(network: nn.Module, x: Tensor) -> Callable[..., Any]:
    openvino = _import_openvino()
    decoders = import_module("openvino.frontend.pytorch.ts_decoder")
    with torch.no_grad():
        traced = torch.jit.trace(network, x, check_trace=False)
    frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
    decoder = decoders.TorchScriptPythonDecoder(traced, example_input=x)  # has to outlive the conversion
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(x.shape))
    # float32 whatever the processor would rather have: the predictions stay the same up to rounding.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled: Callable[..., Any] = openvino.compile_model(model, "CPU", options)
    return compiled
