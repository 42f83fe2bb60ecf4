"""Training that keeps what costly convolutions make, and computes everything between them once more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

__all__ = [
    "LeanModule",
    "LeanNetwork",
    "LeanSequential",
    "compute_again",
    "compute_once",
    "is_lean",
    "keep_convolutions",
]


_FEW_PRODUCTS = 128
"""A convolution that takes up to this many products for a number of its output, as a 1x1 one of 128 channels does, is
computed again."""


_FEW_NUMBERS = 2**18
"""A batch of images of fewer numbers is small: what is kept of it is little, and computing it again takes time."""


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


class LeanNetwork(nn.Module):
    """A network of lean blocks; they keep what PyTorch keeps while it is called with a small batch of images."""

    def __call__(self, x: Any, *inputs: Any, **kwargs: Any) -> Any:
        """Apply ``forward``."""
        if torch.compiler.is_compiling() or not isinstance(x, Tensor):
            return super().__call__(x, *inputs, **kwargs)
        before = getattr(_here, "is_small", False)
        _here.is_small = x.numel() < _FEW_NUMBERS
        try:
            return super().__call__(x, *inputs, **kwargs)
        finally:
            _here.is_small = before


def keep_convolutions(module: nn.Module, function: Callable[..., Any], *inputs: Any, **kwargs: Any) -> Any:
    """Call ``function`` so that training keeps its inputs and what its costly convolutions make, and nothing else.

    PyTorch keeps the input and the output of nearly every layer until the backward pass. Normalisation, activation,
    enlargement, concatenation and 1x1 convolutions of few channels cost little beside the other convolutions: here
    their results are given up, and computed once more when the backward pass comes to this function. Convolutions of
    more than 128 products for each number they make are computed once. Values, gradients and running statistics are
    those of ``function(*inputs)``, but for the rounding of what :func:`is_lean` lets a block compute in another way.
    Random numbers, such as dropout's, are drawn once and kept.

    It is ``torch.utils.checkpoint``. The selective form that PyTorch has of it allows one backward pass only, and lets
    a BatchNorm update its running statistics twice; this one allows several with ``retain_graph``, and updates them
    once.

    In evaluation, without gradients, in mixed precision (where time counts more than memory), in a module with hooks
    (they would run twice), in a :class:`LeanNetwork` called with a small batch (fewer than 2 ** 18 numbers, such as
    four images of 128 x 128 pixels), and where a compiler or an exporter looks, ``function`` is simply called.

    The backward pass needs the module as it was in the forward pass: the same mode, and the same weights. So
    ``torch.func`` and modules whose forward pass changes state of another kind than running statistics (spectral norm
    does) are not for this; ``lean = False`` on the instance leaves them alone.

    Args:
        module: holds every normalisation with running statistics that ``function`` applies.
        function: computes a tensor or several from ``inputs``, which it does not change, nor, in place, the output of a
            convolution.
        inputs: its arguments.
        kwargs: its arguments by name.

    Returns:
        What ``function`` returns.

    Raises:
        RuntimeError: if ``function`` changes the output of a convolution in place; in the backward pass, if a weight of
            ``module`` was changed or exchanged since the forward pass.
    """
    if not _saves_memory(module):
        return function(*inputs, **kwargs)

    def contexts() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        outputs: list[Any] = []
        return _Remember(outputs), _Again(module, outputs)

    # The state of the generator stays alone: setting it back would be felt in other threads that draw from it.
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts, **kwargs)


def compute_once(compute: Callable[[], Tensor]) -> Tensor:
    """Count the result of ``compute`` as the output of one convolution.

    Inside :func:`keep_convolutions` the result is kept, nothing that is made on the way is, and the backward pass does
    not call ``compute`` again. Elsewhere ``compute`` is simply called. Autograd must not look on, as in the forward
    pass of a ``torch.autograd.Function``.
    """
    mode = getattr(_here, "mode", None)
    return compute() if mode is None else mode.compute_once(compute)


def compute_again(compute: Callable[[], Tensor]) -> Tensor:
    """Keep nothing of ``compute``, convolutions included: for what is large and made in no time.

    Inside :func:`keep_convolutions` the backward pass calls ``compute`` again. Elsewhere it is simply called.
    """
    mode = getattr(_here, "mode", None)
    if mode is None:
        return compute()
    with mode.paused():
        return compute_again(compute)  # a block around this one keeps nothing of it either


def is_lean() -> bool:
    """Whether this is called from a function that :func:`keep_convolutions` calls, or calls again, to save memory."""
    return getattr(_here, "mode", None) is not None


_here = threading.local()  # mode: the one that is active in this thread; is_small: whether its images are


def _saves_memory(module: nn.Module) -> bool:
    if not module.training or not torch.is_grad_enabled() or getattr(_here, "is_small", False):
        return False
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return False
    if _has_any_global_hook():
        return False
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(getattr(m, kind) for m in module.modules() for kind in kinds)


class _Mode(TorchDispatchMode):
    """What :func:`compute_once` turns to while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.looking = True

    def __enter__(self) -> Any:
        self.before = getattr(_here, "mode", None)
        _here.mode = self
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        _here.mode = self.before

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the operations go by without a look at each, which would cost more than small ones do themselves."""
        if _get_current_dispatch_mode() is self:
            self.__exit__(None, None, None)
            try:
                yield
            finally:
                self.__enter__()
            return
        # The block has put a mode of its own on top of this one, and that must stay there.
        self.looking, _here.mode = False, self.before
        try:
            yield
        finally:
            self.looking, _here.mode = True, self


class _Remember(_Mode):
    """Note the outputs of convolutions, see that they stay what they are, and note random numbers."""

    def __init__(self, outputs: list[Any]) -> None:
        super().__init__()
        self.outputs = outputs
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation below autograd."""
        if not self.looking:
            return func(*args, **(kwargs or {}))
        if func._schema.is_mutable:
            self._refuse_noted(func, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if _is_kept(func, args):
            self._note(result)
        elif _is_random(func):
            self.outputs.append(tree_map_only(Tensor, Tensor.clone, result))  # it may be changed in place, and often is
        return result

    def compute_once(self, compute: Callable[[], Tensor]) -> Tensor:
        """Note the result of ``compute`` only."""
        with self.paused():
            result = compute_once(compute)  # a block around this one notes it as well
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
    """Hand out what was noted instead of computing convolutions and drawing random numbers."""

    def __init__(self, outputs: list[Any]) -> None:
        super().__init__()
        self.outputs = iter(outputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation below autograd."""
        if self.looking and _is_kept(func, args):
            return next(self.outputs).detach()
        if self.looking and _is_random(func):
            drawn = next(self.outputs)
            return args[0].copy_(drawn) if func._schema.is_mutable else tree_map_only(Tensor, Tensor.clone, drawn)
        return func(*args, **(kwargs or {}))

    def compute_once(self, compute: Callable[[], Tensor]) -> Tensor:
        """Hand out what ``compute`` gave."""
        return next(self.outputs).detach()


def _is_kept(func: Any, args: Any) -> bool:
    """Whether an operation is a convolution, and one that costs more than to store and to load what it makes."""
    return func is torch.ops.aten.convolution.default and args[1].shape[1:].numel() > _FEW_PRODUCTS


def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


class _Again:
    """What holds while a function runs again; entered once for each backward pass."""

    def __init__(self, module: nn.Module, outputs: list[Any]) -> None:
        self.module = module
        self.outputs = outputs
        self.stack = contextlib.ExitStack()
        self.weights = [(weight, weight._version) for weight in module.parameters()]

    def __enter__(self) -> None:
        weights = zip(self.weights, self.module.named_parameters(), strict=False)
        for (weight, version), (name, now) in weights:
            if weight is not now or version != now._version:
                raise RuntimeError(
                    f"{name} of {type(self.module).__name__} was changed or exchanged after the forward pass, which "
                    "the backward pass has to repeat: change weights after backward(), or set lean = False on the block"
                )
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
