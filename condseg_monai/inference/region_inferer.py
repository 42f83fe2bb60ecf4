"""Inferer of the whole image: logits of the mask, and if asked the uncertainty region and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from condseg_monai.inference.grad_cam import lesion_cam
from condseg_monai.training.precision_inferer import PrecisionInferer, in_precision, with_metadata_of

__all__ = ["RegionInferer"]


class RegionInferer(PrecisionInferer):
    """Inferer of the whole image that also gives the uncertainty region and Grad-CAM, if asked.

    Args:
        uncertainty: whether to give the uncertainty region.
        precision: as of :class:`PrecisionInferer`; Grad-CAM is computed in float32.
        gradcam_layer: the module of the network that Grad-CAM is of, see :func:`lesion_cam`; None for none.

    Raises:
        ValueError: if ``precision`` is unknown; when called, if the network has no regions or no such module, or
            float16 meets a CPU.
    """

    def __init__(self, uncertainty: bool = False, precision: str = "float32", gradcam_layer: str | None = None) -> None:
        super().__init__(precision)
        self.uncertainty = uncertainty
        self.gradcam_layer = gradcam_layer
        self._cam: Callable[[Tensor], Tensor] | None = None

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return logits of ``(B, C, H, W)``, or a dictionary.

        Returns:
            With more than logits, they are ``pred``; ``uncertainty`` and ``gradcam`` are ``(B, 1, H, W)`` in [0, 1].
        """
        if self.uncertainty:
            outputs = self._predict_regions(inputs, network, *args, **kwargs)
        else:
            outputs = {"pred": super().__call__(inputs, network, *args, **kwargs)}
        if self.gradcam_layer is not None:
            if self._cam is None:
                self._cam = lesion_cam(cast(nn.Module, network), self.gradcam_layer)
            outputs["gradcam"] = with_metadata_of(inputs, self._cam(inputs))
        return outputs if len(outputs) > 1 else outputs["pred"]

    def _predict_regions(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        predict_regions = getattr(network, "predict_regions", None)
        if predict_regions is None:
            raise ValueError(f"{type(network).__name__} predicts no regions, so there is no uncertainty to save")
        mask, regions = in_precision(self.precision, inputs, lambda x: predict_regions(x, *args, **kwargs))
        outputs = {"pred": mask, "uncertainty": regions[:, 2:3]}
        return {name: with_metadata_of(inputs, value.float()) for name, value in outputs.items()}
