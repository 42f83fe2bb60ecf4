"""TensorBoard panels: pictures of the first validation images and what the network predicts for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from condseg_monai.data.images.normalization import mean_and_std
from condseg_monai.utils.palette import class_colors

__all__ = ["RegionPanel", "ViewPanel"]


class _Panel:
    """A picture with a row per image and a column per map, written every few epochs.

    Args:
        normalization: of the images: ``"imagenet"`` or ``"released"``.
        interval: epochs between two panels; 0 for none.
        max_images: how many images of the first validation batch are drawn.
        summary_writer: TensorBoard's writer.

    Raises:
        ValueError: if ``interval`` or ``max_images`` is out of range.
    """

    columns: tuple[str, ...] = ()

    def __init__(
        self,
        summary_writer: Any,
        normalization: str = "imagenet",
        interval: int = 10,
        max_images: int = 4,
    ) -> None:
        if interval < 0 or max_images < 1:
            raise ValueError(f"interval must be >= 0 and max_images >= 1, got {interval} and {max_images}")
        self.summary_writer = summary_writer
        self.normalization = normalization
        self.interval = interval
        self.max_images = max_images

    def attach(self, engine: Engine) -> None:
        """Draw the first batch of ``engine``'s epochs; its output must have ``image``, ``label`` and ``pred``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        """Write the panel in the first epoch and in every ``interval``-th."""
        epoch = engine.state.epoch
        if self.interval == 0 or (epoch != 1 and epoch % self.interval):
            return
        output: Any = engine.state.output
        items = output[: self.max_images]
        image, label, pred = (
            torch.stack([item[key].as_subclass(Tensor).float() for item in items]) for key in ("image", "label", "pred")
        )
        if max(label.max(), pred.max()) > 1:
            label, pred = label.long(), pred.long()
        rows = torch.cat([_rgb(column) for column in self._maps(image, label, pred)], dim=3)  # (N, 3, H, columns * W)
        picture = torch.cat(list(rows), dim=1).clamp(0, 1).cpu()
        self.summary_writer.add_image(f"validation/{' | '.join(self.columns)}", picture, epoch)
        self.summary_writer.flush()

    def _maps(self, image: Tensor, label: Tensor, pred: Tensor) -> list[Tensor]:
        raise NotImplementedError


class RegionPanel(_Panel):
    """Image, label, prediction, and the probabilities of foreground, background and uncertainty.

    Args:
        network: has the regions (``predict_regions``), as :class:`~condseg_monai.ConDSeg` does.
        **kwargs: ``normalization``, ``interval``, ``max_images`` and ``summary_writer``.
    """

    columns = ("image", "label", "prediction", "foreground", "background", "uncertainty")

    def __init__(self, network: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def _maps(self, image: Tensor, label: Tensor, pred: Tensor) -> list[Tensor]:
        with eval_mode(self.network):
            regions = self.network.predict_regions(image).regions  # type: ignore[operator]
        return [_undo_normalization(image, self.normalization), label, pred, *regions.split(1, dim=1)]


class ViewPanel(_Panel):
    """Image, its strongly augmented view, label and prediction, for the first stage.

    The views are drawn with a seed of their own: a panel does not change the training.

    Args:
        augmentation: makes the view: ``(N, 3, H, W)`` in [0, 1] to the same.
        **kwargs: ``normalization``, ``interval``, ``max_images`` and ``summary_writer``.
    """

    columns = ("image", "augmented view", "label", "prediction")

    def __init__(self, augmentation: Callable[[Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.augmentation = augmentation

    def _maps(self, image: Tensor, label: Tensor, pred: Tensor) -> list[Tensor]:
        clean = _undo_normalization(image, self.normalization).clamp(0, 1)
        with torch.no_grad(), torch.random.fork_rng(devices=[clean.device] if clean.is_cuda else []):
            torch.manual_seed(0)
            view = self.augmentation(clean)
        return [clean, view, label, pred]


def _undo_normalization(image: Tensor, normalization: str) -> Tensor:
    """RGB or grey in [0, 1]."""
    mean, std = mean_and_std(image, normalization)
    picture = image * std + mean
    return picture.flip(1) if normalization == "released" else picture


def _rgb(picture: Tensor) -> Tensor:
    """``(N, 3, H, W)`` from one or three channels, or from class numbers."""
    if picture.shape[1] == 1 and not picture.is_floating_point():
        colors = torch.from_numpy(class_colors(int(picture.max()) + 1)).to(picture.device) / 255
        return colors[picture[:, 0]].permute(0, 3, 1, 2)
    return picture.float().expand(-1, 3, -1, -1)
