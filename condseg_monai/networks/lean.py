"""Training that keeps the outputs of convolutions and computes everything between them once more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

__all__ = ["LeanModule", "LeanSequential", "keep_convolutions"]


class LeanModule(nn.Module):
    """A block that is called through :func:`keep_convolutions`; otherwise a module like any other."""

    lean = True
    """False on an instance: training keeps what PyTorch keeps."""

    def __call__(self, *inputs: Any) -> Any:
        """Apply ``forward``."""
        apply = super().__call__
        return keep_convolutions(self, apply, *inputs) if self.lean else apply(*inputs)


class LeanSequential(LeanModule, nn.Sequential):
    """``nn.Sequential``, called through :func:`keep_convolutions`."""


def keep_convolutions(module: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
    """Call ``function`` so that training keeps its inputs and the outputs of its convolutions, and nothing else.

    PyTorch keeps the input and the output of nearly every layer until the backward pass. Normalisation, activation,
    enlargement and concatenation cost little beside the convolutions: here their results are given up, and computed
    once more when the backward pass comes to this function. Convolutions are computed once. Values, gradients and
    running statistics are those of ``function(*inputs)``.

    It is ``torch.utils.checkpoint``. The selective form that PyTorch has of it allows one backward pass only, and lets
    a BatchNorm update its running statistics twice; this one allows several with ``retain_graph``, and updates them
    once.

    In evaluation, without gradients, in mixed precision (where time counts more than memory), in a module with hooks
    (they would run twice), and where a compiler or an exporter looks, ``function`` is simply called.

    Args:
        module: holds every BatchNorm that ``function`` applies.
        function: computes a tensor or several from ``inputs``, which it does not change.
        inputs: its arguments.

    Returns:
        What ``function`` returns.
    """
    if not _is_worth_it(module):
        return function(*inputs)

    def contexts() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        outputs: list[Tensor] = []
        return _Remember(outputs), _Again(module, outputs)

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


def _is_worth_it(module: nn.Module) -> bool:
    if not module.training or not torch.is_grad_enabled():
        return False
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return False
    return not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())


class _Remember(TorchDispatchMode):
    """Note the outputs of convolutions."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation below autograd."""
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.outputs.append(result.detach())  # the tensor itself would hold the graph that holds it
        return result


class _Replay(TorchDispatchMode):
    """Hand out the noted outputs instead of computing convolutions."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = iter(outputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation below autograd."""
        if func is torch.ops.aten.convolution.default:
            return next(self.outputs).detach()
        return func(*args, **(kwargs or {}))


class _Again:
    """What holds while a function runs again; entered once for each backward pass."""

    def __init__(self, module: nn.Module, outputs: list[Tensor]) -> None:
        self.module = module
        self.outputs = outputs
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        self.stack.enter_context(_scratch_statistics(self.module))
        self.stack.enter_context(_Replay(self.outputs))

    def __exit__(self, *exception: Any) -> None:
        self.stack.__exit__(*exception)


@contextlib.contextmanager
def _scratch_statistics(module: nn.Module) -> Iterator[None]:
    """Let BatchNorms update copies of their running statistics: with none at all, autograd would save fewer tensors."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    own = [(norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    for norm, (mean, variance, _) in zip(norms, own, strict=True):
        assert mean is not None and variance is not None
        norm.running_mean, norm.running_var, norm.num_batches_tracked = mean.clone(), variance.clone(), None
    try:
        yield
    finally:
        for norm, (mean, variance, number) in zip(norms, own, strict=True):
            norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, variance, number
