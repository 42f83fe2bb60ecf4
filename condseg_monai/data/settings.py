"""Settings of a model: from the card beside its weights, else from options and defaults."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from condseg_monai.data.ct.synapse import CT_WINDOW_HU, synapse_class_names
from condseg_monai.data.images.normalization import UNKNOWN
from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.model_card import ModelCard, card_path

__all__ = ["model_settings"]

_CT_IMAGE_SIZE = 224
_INPUT = ("image_size", "normalization", "window_hu", "class_names")


def model_settings(
    options: Mapping[str, Any],
    checkpoint: str | os.PathLike[str] | None = None,
    method: str | None = None,
    kind: str = "image",
    strict: bool = False,
) -> ModelCard:
    """Settings of a model: those of the card beside its weights, else options and the method's defaults.

    Args:
        options: of a config, as :func:`~condseg_monai.read_options` returns them; null or absent: as the card says.
            ``threshold`` may be other than the card's; the others must not.
        checkpoint: the weights, whose card is the file of the same name that ends in ``.json``; None for a training.
        method: a key of :data:`~condseg_monai.networks.methods.METHODS`, for a training; else it is an option.
        kind: what the config is for, ``"image"`` or ``"ct"``.
        strict: whether images may only be prepared with known settings: if there are neither weights nor their card nor
            an ``image_size``, as in a TorchScript that was exported from a config without its model's values, the
            normalisation is ``"unknown"``, which raises when it is used.

    Raises:
        ValueError: naming the option that contradicts the card, with both values; or if the card is of another kind.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if method is not None:
        given["method"] = method
    path = None if checkpoint is None else card_path(checkpoint)
    if path is None or not path.is_file():
        card = _from_options(given, kind)
        if checkpoint is None:
            return card
        if not Path(checkpoint).is_file():
            return replace(card, normalization=UNKNOWN) if strict and "image_size" not in given else card
        logging.getLogger(__name__).warning(
            f"{checkpoint} has no model card ({path.name if path else ''}): options and defaults hold, "
            f"{', '.join(f'{name} {value}' for name, value in card.settings().items() if value is not None)}"
        )
        return card
    card = ModelCard.read(path)
    if card.kind != kind:
        config = {"image": "inference.json", "ct": "inference_synapse.json"}[card.kind]
        raise ValueError(f"{checkpoint} segments {_KINDS[card.kind]}, not {_KINDS[kind]}: use configs/{config}")
    _refuse_contradictions(given, card, path)
    return replace(card, threshold=given.get("threshold", card.threshold))


_KINDS = {"image": "2D images", "ct": "CT volumes"}


def _from_options(given: Mapping[str, Any], kind: str) -> ModelCard:
    method = METHODS[given.get("method", "condseg")]
    defaults = {name: value.default for name, value in inspect.signature(method.network).parameters.items()}
    names = given.get("class_names") or (synapse_class_names("transunet") if kind == "ct" else None)
    window = given.get("window_hu", CT_WINDOW_HU)
    return ModelCard(
        method=given.get("method", "condseg"),
        network={
            "in_channels": 3,
            "out_channels": 1 if names is None else len(names),
            **{name: given.get(name, defaults.get(name)) for name in method.options},
        },
        kind=kind,
        image_size=given.get("image_size", _CT_IMAGE_SIZE if kind == "ct" else method.image_size),
        normalization=given.get("normalization", "imagenet"),
        window_hu=(float(window[0]), float(window[1])) if kind == "ct" else None,
        threshold=given.get("threshold", 0.5),
        class_names=("background", "lesion") if names is None else tuple(names),
    )


def _refuse_contradictions(given: Mapping[str, Any], card: ModelCard, path: Path) -> None:
    settings = card.settings()
    shaping = {name for method in METHODS.values() for name in method.options}
    for name in ("method", *sorted(shaping), *_INPUT):
        if name in given and _plain(given[name]) != _plain(settings.get(name)):
            has = f"{name} {settings[name]}" if settings.get(name) is not None else f"no {name}"
            raise ValueError(
                f"{name} is {given[name]!r}, but the model has {has}, as {path} says: leave the option out. (Weights "
                "of another training need their own card, or none)"
            )


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, (list, tuple)) else value
