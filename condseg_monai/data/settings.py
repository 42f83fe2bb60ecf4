"""Settings of a model: from the card beside its weights, else from options and defaults."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from condseg_monai.data.ct.synapse import CT_WINDOW_HU, synapse_class_names
from condseg_monai.data.images.mask_values import class_map
from condseg_monai.data.images.normalization import UNKNOWN
from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.model_card import ModelCard, card_path
from condseg_monai.utils.method_files import INFERENCE

__all__ = ["model_settings"]

_CT_IMAGE_SIZE = 224
_INPUT = ("channels", "image_size", "anti_aliasing", "normalization", "window_hu", "class_names", "class_values")


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
        config = f"configs/{INFERENCE[card.kind]}.json"
        raise ValueError(f"{checkpoint} segments {_KINDS[card.kind]}, not {_KINDS[kind]}: use {config}")
    if card.class_values is not None:
        try:
            class_map(card.class_names, card.class_values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    _refuse_contradictions(given, card, path)
    if given.get("threshold", card.threshold) != card.threshold and not card.is_binary:
        raise ValueError(f"threshold is of a binary mask, and {path} has {len(card.class_names)} classes: leave it out")
    return replace(card, threshold=given.get("threshold", card.threshold))


_NORM = "batch"  # what a card means that says nothing
_KINDS = {"image": "2D images", "ct": "CT volumes"}


def _from_options(given: Mapping[str, Any], kind: str) -> ModelCard:
    method = METHODS[given.get("method", "condseg")]
    names = given.get("class_names") or (synapse_class_names("transunet") if kind == "ct" else None)
    classes = None if names is None or kind == "ct" else class_map(names, given.get("class_values"))
    if classes is None and "class_values" in given:
        raise ValueError("class_values are of images with several classes: give their --class_names too")
    window = given.get("window_hu", CT_WINDOW_HU)
    return ModelCard(
        method=given.get("method", "condseg"),
        network={
            "in_channels": given.get("channels", 3),
            "out_channels": 1 if names is None else len(names),
            **{name: given.get(name, default) for name, default in method.options.items()},
            **({"norm": given["norm"]} if given.get("norm", _NORM) != _NORM else {}),
        },
        kind=kind,
        image_size=given.get("image_size", _CT_IMAGE_SIZE if kind == "ct" else method.image_size),
        anti_aliasing=given.get("anti_aliasing", False),
        normalization=given.get("normalization", "imagenet"),
        window_hu=(float(window[0]), float(window[1])) if kind == "ct" else None,
        threshold=given.get("threshold", 0.5),
        class_names=("background", "lesion") if names is None else tuple(names),
        class_values=None if classes is None else tuple(classes.values()),
    )


def _refuse_contradictions(given: Mapping[str, Any], card: ModelCard, path: Path) -> None:
    settings = {"norm": _NORM, **card.settings(), "channels": card.network.get("in_channels")}
    shaping = {name for method in METHODS.values() for name in method.options}
    for name in ("method", "norm", *sorted(shaping), *_INPUT):
        if name in given and _plain(given[name]) != _plain(settings.get(name)):
            has = f"{name} {settings[name]}" if settings.get(name) is not None else f"no {name}"
            raise ValueError(
                f"{name} is {given[name]!r}, but the model has {has}, as {path} says: leave the option out. (Weights "
                "of another training need their own card, or none)"
            )


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
