"""Inferer of the whole image: logits of the mask, and if asked the probability of the uncertainty region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from condseg_monai.training.precision_inferer import PrecisionInferer, in_precision, with_metadata_of

__all__ = ["RegionInferer"]


class RegionInferer(PrecisionInferer):
    """Inferer of the whole image that also gives the uncertainty region, if asked.

    Args:
        uncertainty: return the probability of the uncertainty region too.
        precision: as for :class:`~condseg_monai.PrecisionInferer`.

    Raises:
        ValueError: if ``precision`` is unknown.
    """

    def __init__(self, uncertainty: bool = False, precision: str = "float32") -> None:
        super().__init__(precision)
        self.uncertainty = uncertainty

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Predict a batch.

        Args:
            inputs: ``(B, C, H, W)``.
            network: a network in evaluation mode; for the uncertainty one with ``predict_regions``, such as
                :class:`~condseg_monai.ConDSeg`.
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            Mask logits ``(B, out_channels, H, W)``; with the uncertainty a dictionary of them as ``pred`` and of
            ``uncertainty``, ``(B, 1, H, W)`` in [0, 1].

        Raises:
            ValueError: if the uncertainty is wanted of a network that has none, or the precision is ``"float16"`` and
                the inputs are on a CPU.
        """
        if not self.uncertainty:
            return super().__call__(inputs, network, *args, **kwargs)
        predict_regions = getattr(network, "predict_regions", None)
        if predict_regions is None:
            raise ValueError(f"{type(network).__name__} predicts no regions, so there is no uncertainty to save")
        mask, regions = in_precision(self.precision, inputs, lambda x: predict_regions(x, *args, **kwargs))
        outputs = {"pred": mask, "uncertainty": regions[:, 2:3]}
        return {name: with_metadata_of(inputs, value.float()) for name, value in outputs.items()}
