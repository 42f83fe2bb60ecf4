"""Training that keeps the outputs of convolutions and computes everything between them once more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

__all__ = ["LeanModule", "LeanSequential", "compute_once", "keep_convolutions"]


class LeanModule(nn.Module):
    """A block that is called through :func:`keep_convolutions`; otherwise a module like any other."""

    lean = True
    """False on an instance: training keeps what PyTorch keeps."""

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Apply ``forward``."""
        apply = super().__call__
        return keep_convolutions(self, apply, *inputs, **kwargs) if self.lean else apply(*inputs, **kwargs)


class LeanSequential(LeanModule, nn.Sequential):
    """``nn.Sequential``, called through :func:`keep_convolutions`."""


def keep_convolutions(module: nn.Module, function: Callable[..., Any], *inputs: Any, **kwargs: Any) -> Any:
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

    The backward pass needs the module as it was in the forward pass: the same mode, and weights that nobody has changed
    since. So ``torch.func`` and modules whose forward pass changes state of another kind than running statistics
    (spectral norm does) are not for this; ``lean = False`` on the instance leaves them alone.

    Args:
        module: holds every normalisation with running statistics that ``function`` applies.
        function: computes a tensor or several from ``inputs``, which it does not change, nor, in place, the output of a
            convolution.
        inputs: its arguments.
        kwargs: its arguments by name.

    Returns:
        What ``function`` returns.

    Raises:
        RuntimeError: if ``function`` changes the output of a convolution in place.
    """
    if not _is_worth_it(module):
        return function(*inputs, **kwargs)

    def contexts() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        outputs: list[Tensor] = []
        return _Remember(outputs), _Again(module, outputs)

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts, **kwargs)


def compute_once(compute: Callable[[], Tensor]) -> Tensor:
    """Count the result of ``compute`` as the output of one convolution.

    Inside :func:`keep_convolutions` the result is kept, nothing that is made on the way is, and the backward pass does
    not call ``compute`` again. Elsewhere ``compute`` is simply called.
    """
    mode = getattr(_here, "mode", None)
    if mode is None:
        return compute()
    _here.mode = mode.before  # a block around this one counts it once as well
    try:
        result: Tensor = mode.compute_once(lambda: compute_once(compute))
    finally:
        _here.mode = mode
    return result


_here = threading.local()  # the mode that is active in this thread


def _is_worth_it(module: nn.Module) -> bool:
    if not module.training or not torch.is_grad_enabled():
        return False
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return False
    if _has_any_global_hook():
        return False
    return not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())


class _Mode(TorchDispatchMode):
    """What :func:`compute_once` turns to while it is active."""

    def __enter__(self) -> Any:
        self.before = getattr(_here, "mode", None)
        _here.mode = self
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        _here.mode = self.before


class _Remember(_Mode):
    """Note the outputs of convolutions, and see that they stay what they are."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs
        self.storages: set[int] = set()
        self.noting = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation below autograd."""
        if self.noting and func._schema.is_mutable:
            self._refuse_noted(func, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if self.noting and func is torch.ops.aten.convolution.default:
            self._note(result)
        return result

    def compute_once(self, compute: Callable[[], Tensor]) -> Tensor:
        """Note the result of ``compute`` only."""
        self.noting = False
        try:
            result = compute()
        finally:
            self.noting = True
        self._note(result)
        return result

    def _note(self, result: Tensor) -> None:
        output = result.detach()  # the tensor itself would hold the graph that holds it
        self.outputs.append(output)
        self.storages.add(output.untyped_storage()._cdata)  # not data_ptr: that is 0 for each meta tensor

    def _refuse_noted(self, func: Any, args: Any, kwargs: Any) -> None:
        for i, argument in enumerate(func._schema.arguments):
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            if not isinstance(value, Tensor) or argument.alias_info is None or not argument.alias_info.is_write:
                continue
            if value.untyped_storage()._cdata in self.storages:
                raise RuntimeError(
                    f"{func} changes the output of a convolution in place, so its block cannot be computed again: let "
                    "it change a copy, or set lean = False on the block"
                )


class _Replay(_Mode):
    """Hand out the noted outputs instead of computing convolutions."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = iter(outputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation below autograd."""
        if func is torch.ops.aten.convolution.default:
            return next(self.outputs).detach()
        return func(*args, **(kwargs or {}))

    def compute_once(self, compute: Callable[[], Tensor]) -> Tensor:
        """Hand out what ``compute`` gave."""
        return next(self.outputs).detach()


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
    """Let norms update copies of their running statistics: with none at all, autograd would save fewer tensors."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    norms = [m for m in module.modules() if isinstance(m, _NormBase) and m.running_mean is not None]
    own = [{name: getattr(norm, name) for name in names} for norm in norms]
    for norm, buffers in zip(norms, own, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, None if buffer is None else buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
