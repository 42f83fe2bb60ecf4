"""Activation checkpointing: recompute activations in the backward pass instead of keeping them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

__all__ = ["CheckpointedModule", "CheckpointedSequential", "set_checkpointing"]

Context = contextlib.AbstractContextManager[Any]


class CheckpointedModule(nn.Module):
    """A block whose activations training can recompute; a network sets ``checkpointing``."""

    checkpointing = "none"  # without an annotation, which TorchScript cannot read here

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Apply ``forward``, through ``torch.utils.checkpoint`` if asked for and in training."""
        if self.checkpointing == "none" or not self.training or not torch.is_grad_enabled():
            return super().__call__(*inputs, **kwargs)
        return self._checkpointed(super().__call__, *inputs, **kwargs)

    @torch.compiler.disable  # torch.compile takes no contexts of ours: these blocks run as they are
    def _checkpointed(self, apply: Callable[..., Any], *inputs: Any, **kwargs: Any) -> Any:
        def contexts() -> tuple[Context, Context]:
            forward, recompute = _CONTEXTS[self.checkpointing]()
            return forward, _recomputing(self, recompute)

        torch.clear_autocast_cache()  # a block that runs twice would find its weights cast, and recompute otherwise
        return checkpoint(apply, *inputs, use_reentrant=False, context_fn=contexts, **kwargs)


class CheckpointedSequential(CheckpointedModule, nn.Sequential):
    """``nn.Sequential`` as one such block."""


def set_checkpointing(network: nn.Module, checkpointing: str) -> None:
    """Choose what the blocks of a network keep for the backward pass; gradients are the same.

    Args:
        network: has :class:`CheckpointedModule` blocks; all else, such as the encoders ``vgg19`` and ``pvt_v2_b2``,
            keeps what PyTorch keeps.
        checkpointing: ``"none"`` keeps what PyTorch keeps; ``"selective"`` keeps the inputs of blocks and the outputs
            of convolutions larger than 1x1, and allows one backward pass; ``"block"`` keeps the inputs only.

    Raises:
        ValueError: if ``checkpointing`` is none of these.
    """
    if checkpointing != "none" and checkpointing not in _CONTEXTS:
        raise ValueError(f'checkpointing must be "none", "selective" or "block", got {checkpointing!r}')
    for module in network.modules():
        if isinstance(module, CheckpointedModule):
            module.checkpointing = checkpointing


def _keep_convolutions(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    is_costly = operation is torch.ops.aten.convolution.default and args[1].shape[2:].numel() > 1
    return CheckpointPolicy.MUST_SAVE if is_costly else CheckpointPolicy.PREFER_RECOMPUTE


_CONTEXTS: Mapping[str, Callable[[], tuple[Context, Context]]] = {
    "selective": lambda: create_selective_checkpoint_contexts(_keep_convolutions),
    "block": lambda: (contextlib.nullcontext(), contextlib.nullcontext()),
}


@contextlib.contextmanager
def _recomputing(module: nn.Module, context: Context) -> Iterator[None]:
    with _ScratchBuffers(module), context:
        yield


class _ScratchBuffers(TorchFunctionMode):
    """Hand operations copies of a module's buffers, so that BatchNorm counts a batch once, not again when recomputed.

    A mode holds in its own thread only, and the module stays untouched, whoever else runs it.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.copies = {id(buffer): buffer.clone() for buffer in module.buffers()}

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        swapped = [self.copies.get(id(arg), arg) for arg in args]
        return func(*swapped, **{name: self.copies.get(id(arg), arg) for name, arg in (kwargs or {}).items()})
