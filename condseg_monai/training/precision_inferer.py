"""Mixed precision of a network's forward pass, on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch import Tensor

__all__ = ["PrecisionInferer"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Output = TypeVar("Output")


class PrecisionInferer(SimpleInferer):
    """MONAI's ``SimpleInferer`` in mixed precision, on a CPU too: MONAI's engines know that on GPUs only.

    The network sees plain tensors: a ``MetaTensor`` looks after its metadata at every operation. A prediction that is
    one tensor comes back in float32 with the metadata of the input; other outputs, those of training, as they are.

    Args:
        precision: ``"float32"``; ``"bfloat16"``, mixed; ``"float16"``, mixed, on a GPU, for training with a gradient
            scaler. How far off bfloat16's logits are depends on the weights: 0.7 % of the
            largest on ResNet-50 trained on polyps, within 6 % in the tests, on small networks after 20 steps, and much
            more where running statistics do not fit the weights. Compare with float32 on yours before you rely on it.
        passes: into how many equal parts a batch is cut, each with a forward pass, and so BatchNorm statistics, of its
            own: 2 for the clean and the augmented views of stage 1.

    Raises:
        ValueError: if ``precision`` is none of the three, or ``passes`` is not positive; when called, if a batch cannot
            be cut so.
    """

    def __init__(self, precision: str = "float32", passes: int = 1) -> None:
        super().__init__()
        self.precision = check_precision(precision)
        if passes < 1:
            raise ValueError(f"passes must be positive, got {passes}")
        self.passes = passes

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Predict a batch.

        Args:
            inputs: what the network takes.
            network: the network.
            args: passed on to it.
            kwargs: passed on to it.

        Returns:
            What the network returns; of several passes concatenated, a tensor or each part of a list or named tuple.

        Raises:
            ValueError: if the precision is ``"float16"`` and the inputs are on a CPU.
        """
        if len(inputs) % self.passes:
            raise ValueError(f"a batch of {len(inputs)} cannot be cut into {self.passes} equal parts")
        parts = inputs.chunk(self.passes)
        outputs = [in_precision(self.precision, part, lambda x: network(x, *args, **kwargs)) for part in parts]
        output = outputs[0] if self.passes == 1 else _concatenate(outputs)
        return with_metadata_of(inputs, output.float()) if isinstance(output, Tensor) else output


def _concatenate(outputs: list[Any]) -> Any:
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    fields = [_concatenate(list(field)) for field in zip(*outputs, strict=True)]
    return fields if isinstance(outputs[0], list) else type(outputs[0])(*fields)


def check_precision(precision: str) -> str:
    """Return ``precision`` if it is a known one, else raise."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    return precision


def in_precision(precision: str, inputs: Tensor, function: Callable[[Tensor], Output]) -> Output:
    """Call ``function`` on ``inputs``, stripped of metadata, under autocast to ``precision``."""
    plain = inputs.as_subclass(Tensor)
    if precision == "float32":
        return function(plain)
    if precision == "float16" and plain.device.type == "cpu":
        raise ValueError("precision float16 needs a GPU: use bfloat16 or float32 on a CPU")
    with torch.autocast(plain.device.type, PRECISIONS[precision]):
        return function(plain)


def with_metadata_of(inputs: Tensor, output: Tensor) -> Tensor:
    """Give ``output`` the metadata of ``inputs``, as if it had gone along through every operation."""
    if not isinstance(inputs, MetaTensor):
        return output
    return output.as_subclass(MetaTensor).copy_meta_from(inputs, copy_attr=False)
