"""Pictures in TensorBoard: what the network makes of the first validation images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardHandler
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.reports.drawing import class_colors

__all__ = ["RegionPanel", "ViewPanel"]

_PANEL_SEED = 0


class _Panel(TensorBoardHandler):
    """A picture with a row per image and a column per map, written every few epochs."""

    columns: tuple[str, ...] = ()

    def __init__(
        self,
        normalization: str = "imagenet",
        interval: int = 10,
        max_images: int = 4,
        summary_writer: Any = None,
        log_dir: str = "./runs",
    ) -> None:
        super().__init__(summary_writer=summary_writer, log_dir=log_dir)
        if interval < 0 or max_images < 1:
            raise ValueError(f"interval must be >= 0 and max_images >= 1, got {interval} and {max_images}")
        self.normalization = normalization
        self.interval = interval
        self.max_images = max_images

    def attach(self, engine: Engine) -> None:
        """Draw the first batch of ``engine``'s epochs.

        Args:
            engine: the evaluator; its output is a list of dictionaries with ``image``, ``label`` and ``pred``.
        """
        engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=_is_first_iteration), self)

    def __call__(self, engine: Engine) -> None:
        """Write the panel if its turn has come: in the first epoch and in every ``interval``-th.

        Args:
            engine: the evaluator, one iteration completed.
        """
        epoch = engine.state.epoch
        if self.interval == 0 or (epoch != 1 and epoch % self.interval):
            return
        output: Any = engine.state.output
        items = output[: self.max_images]
        image, label, pred = (_stack(items, key) for key in ("image", "label", "pred"))
        self._writer.add_image(f"validation/{' | '.join(self.columns)}", self._draw(image, label, pred), epoch)
        self._writer.flush()

    def _draw(self, image: Tensor, label: Tensor, pred: Tensor) -> Tensor:
        """Lay the maps side by side and the images below each other: ``(3, N * H, columns * W)`` in [0, 1]."""
        if max(label.max(), pred.max()) > 1:
            label, pred = label.long(), pred.long()
        maps = [_rgb(column) for column in self._maps(image, label, pred)]
        rows = torch.cat(maps, dim=3)  # (N, 3, H, columns * W)
        return torch.cat(list(rows), dim=1).clamp(0, 1).cpu()

    def _maps(self, image: Tensor, label: Tensor, pred: Tensor) -> list[Tensor]:
        raise NotImplementedError


class RegionPanel(_Panel):
    """Image, label, prediction, and the probabilities of foreground, background and uncertainty.

    Args:
        network: gives the regions (``predict_regions``), as :class:`~condseg_monai.networks.ConDSeg` does.
        normalization: what the images were normalised with: ``"imagenet"`` or ``"released"``.
        interval: epochs between two panels; 0 for none.
        max_images: how many images of the first validation batch are drawn.
        summary_writer: TensorBoard's writer; ``None`` makes one.
        log_dir: where a writer made here writes.

    Raises:
        ValueError: if ``interval`` or ``max_images`` is out of range.
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

    The views are drawn from a generator of their own: a panel does not change the training.

    Args:
        augmentation: makes the view: ``(N, 3, H, W)`` in [0, 1] to the same.
        normalization: what the images were normalised with: ``"imagenet"`` or ``"released"``.
        interval: epochs between two panels; 0 for none.
        max_images: how many images of the first validation batch are drawn.
        summary_writer: TensorBoard's writer; ``None`` makes one.
        log_dir: where a writer made here writes.

    Raises:
        ValueError: if ``interval`` or ``max_images`` is out of range.
    """

    columns = ("image", "augmented view", "label", "prediction")

    def __init__(self, augmentation: Callable[[Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.augmentation = augmentation

    def _maps(self, image: Tensor, label: Tensor, pred: Tensor) -> list[Tensor]:
        clean = _undo_normalization(image, self.normalization).clamp(0, 1)
        devices = [clean.device] if clean.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(_PANEL_SEED)
            view = self.augmentation(clean)
        return [clean, view, label, pred]


def _is_first_iteration(engine: Engine, iteration: int) -> bool:
    return iteration == 1


def _stack(items: Sequence[dict[str, Tensor]], key: str) -> Tensor:
    return torch.stack([item[key].as_subclass(Tensor).float() for item in items])


def _undo_normalization(image: Tensor, normalization: str) -> Tensor:
    """Return RGB in [0, 1]: the normalisation is affine, so what it makes of black and white gives its inverse."""
    black, white = (normalize_image(image.new_full((3, 1, 1), value), normalization) for value in (0.0, 1.0))
    picture = (image - black) / (white - black)
    return picture.flip(1) if normalization == "released" else picture


def _rgb(picture: Tensor) -> Tensor:
    """Return ``(N, 3, H, W)`` from one or three channels; of class numbers, a colour each and black for background."""
    if picture.shape[1] == 1 and not picture.is_floating_point():
        colors = torch.from_numpy(class_colors(int(picture.max()) + 1)).to(picture.device) / 255
        return colors[picture[:, 0]].permute(0, 3, 1, 2)
    return picture.float().expand(-1, 3, -1, -1)
