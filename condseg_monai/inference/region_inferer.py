"""Inferer of the whole image: logits of the mask, and if asked the probability of the uncertainty region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from condseg_monai.training.precision_inferer import PrecisionInferer, in_precision, with_metadata_of

__all__ = ["RegionInferer"]


class RegionInferer(PrecisionInferer):
    """Inferer of the whole image that also gives the uncertainty region, if asked.

    Raises:
        ValueError: if ``precision`` is unknown; when called, if the network has no regions, or float16 meets a CPU.
    """

    def __init__(self, uncertainty: bool = False, precision: str = "float32") -> None:
        super().__init__(precision)
        self.uncertainty = uncertainty

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return logits of ``(B, C, H, W)``; with the uncertainty, ``(B, 1, H, W)`` in [0, 1], a dictionary of both."""
        if not self.uncertainty:
            return super().__call__(inputs, network, *args, **kwargs)
        predict_regions = getattr(network, "predict_regions", None)
        if predict_regions is None:
            raise ValueError(f"{type(network).__name__} predicts no regions, so there is no uncertainty to save")
        mask, regions = in_precision(self.precision, inputs, lambda x: predict_regions(x, *args, **kwargs))
        outputs = {"pred": mask, "uncertainty": regions[:, 2:3]}
        return {name: with_metadata_of(inputs, value.float()) for name, value in outputs.items()}
