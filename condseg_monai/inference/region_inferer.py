"""From a network to the mask, and to its uncertainty if asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor

from condseg_monai.training.precision_inferer import check_precision, in_precision, with_metadata_of

__all__ = ["RegionInferer", "SplitUncertaintyd"]


class RegionInferer(Inferer):
    """Show the network the whole image, as MONAI's ``SimpleInferer`` does, and append the uncertainty region if asked.

    Args:
        uncertainty: append the probability of the uncertainty region as a last channel;
            :class:`SplitUncertaintyd` takes it off again, once the batch has been taken apart.
        precision: as for :class:`~condseg_monai.PrecisionInferer`.

    Raises:
        ValueError: if ``precision`` is unknown.
    """

    def __init__(self, uncertainty: bool = False, precision: str = "float32") -> None:
        super().__init__()
        self.uncertainty = uncertainty
        self.precision = check_precision(precision)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Predict a batch.

        Args:
            inputs: ``(B, C, H, W)``.
            network: a network in evaluation mode; for the uncertainty one with ``predict_regions``, such as
                :class:`~condseg_monai.ConDSeg`.
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            Mask logits ``(B, out_channels, H, W)``, or ``(B, out_channels + 1, H, W)`` with the uncertainty in [0, 1].

        Raises:
            ValueError: if the uncertainty is wanted of a network that has none, or the precision is ``"float16"`` and
                the inputs are on a CPU.
        """
        predict = self._with_uncertainty(network) if self.uncertainty else network
        output = in_precision(self.precision, inputs, lambda x: predict(x, *args, **kwargs))
        return with_metadata_of(inputs, output.float())

    @staticmethod
    def _with_uncertainty(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        predict_regions = getattr(network, "predict_regions", None)
        if predict_regions is None:
            raise ValueError(f"{type(network).__name__} predicts no regions, so there is no uncertainty to save")

        def predict(*args: Any, **kwargs: Any) -> Tensor:
            prediction = predict_regions(*args, **kwargs)
            return torch.cat((prediction.mask, prediction.regions[:, 2:3]), dim=1)

        return predict


class SplitUncertaintyd(MapTransform):
    """Move the last channel, which :class:`RegionInferer` appended, to an entry of its own.

    Args:
        keys: the entry with mask logits and uncertainty, ``(out_channels + 1, H, W)``.
        output_key: the entry for the uncertainty, ``(1, H, W)``.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "uncertainty") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return a copy of ``data`` with the channel moved."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[self.output_key] = result[key][-1:]
            result[key] = result[key][:-1]
        return result
