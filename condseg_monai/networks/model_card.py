"""Model card: what a checkpoint is and how to use it, as JSON beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from condseg_monai.utils.files import write_json

__all__ = ["ModelCard", "card_path"]

_SCHEMA = "condseg_monai model card"
_VERSION = 1


def card_path(checkpoint: str | os.PathLike[str]) -> Path:
    """The model card of a checkpoint: ``model.json`` beside ``model.pt``."""
    return Path(checkpoint).with_suffix(".json")


@dataclass(frozen=True)
class ModelCard:
    """What a checkpoint is and how to use it; plain data, of which nothing is ever evaluated.

    Attributes:
        method: a key of :data:`~condseg_monai.networks.methods.METHODS`, or ``"custom"`` for another network.
        network: arguments of its network: ``in_channels``, ``out_channels`` and others.
        kind: what it segments, ``"image"`` or ``"ct"`` (slices of volumes).
        image_size: side of the square that images are resized to.
        anti_aliasing: whether images are smoothed before they are made smaller.
        normalization: as :class:`~condseg_monai.NormalizeImage` takes it.
        window_hu: of CT, the Hounsfield units that become 0 and 1. There is no spacing: slices are resized to
            ``image_size`` whatever theirs is.
        threshold: of one output channel, the probability from which on a pixel is foreground.
        class_names: background first.
        class_values: of images with several classes, what each is in a mask: a number, or a colour of three; None for
            0, 1, 2 and so on, for a binary mask and for CT.
        weights: ``file`` and ``sha256``; empty if there are none yet.
        training: facts about the run that made the weights; of a model that is passed on, ``data`` and ``licence`` too,
            in words.
        versions: of packages.
    """

    method: str
    network: Mapping[str, Any]
    kind: str = "image"
    image_size: int = 256
    anti_aliasing: bool = False
    normalization: str = "imagenet"
    window_hu: tuple[float, float] | None = None
    threshold: float = 0.5
    class_names: tuple[str, ...] = ("background", "lesion")
    class_values: tuple[Any, ...] | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` if the classes are not those of the output, or MONAI would evaluate the name of one."""
        if wrong := [name for name in self.class_names if str(name).startswith(("$", "@", "%"))]:
            raise ValueError(
                f"class_names: {wrong[0]!r} begins with $, @ or %, which MONAI's configs evaluate: rename it"
            )
        channels = self.network.get("out_channels")
        if channels is not None and len(self.class_names) != max(2, channels):
            raise ValueError(
                f"class_names has {len(self.class_names)} names, and the network {channels} output channels"
            )
        if channels == 1 and self.class_values is not None:
            raise ValueError("class_values are of several classes, and the network has one output channel")

    @property
    def classes(self) -> dict[str, Any] | None:
        """The value of each class in a mask by its name, background first; None for a binary mask and for CT."""
        if self.is_binary or self.kind == "ct":
            return None
        values = range(len(self.class_names)) if self.class_values is None else self.class_values
        return dict(zip(self.class_names, values, strict=True))

    @property
    def is_binary(self) -> bool:
        """Whether a mask is foreground or not, by one output channel's sigmoid; else by the largest of several."""
        return self.kind == "image" and self.class_values is None and self.network.get("out_channels", 1) == 1

    @property
    def image_mode(self) -> str:
        """How images are read, for :class:`~condseg_monai.NaturalImageReader`: by the network's input channels."""
        return "gray" if self.network.get("in_channels") == 1 else "RGB"

    def settings(self) -> dict[str, Any]:
        """What decides how an image becomes a mask, beside the weights; JSON-ready."""
        content = self.as_dict()
        return {"method": self.method, **content["network"], **content["input"], **content["output"]}

    def as_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "schema": _SCHEMA,
            "schema_version": _VERSION,
            "method": self.method,
            "network": dict(self.network),
            "input": {
                "kind": self.kind,
                "image_size": self.image_size,
                "anti_aliasing": self.anti_aliasing,
                "normalization": self.normalization,
                "window_hu": None if self.window_hu is None else list(self.window_hu),
            },
            "output": {
                "threshold": self.threshold,
                "class_names": list(self.class_names),
                "class_values": None if self.class_values is None else list(self.class_values),
            },
            **{name: dict(value) for name, value in asdict(self).items() if name in _FACTS},
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the card atomically."""
        write_json(path, self.as_dict())

    @classmethod
    def of(cls, checkpoint: str | os.PathLike[str]) -> ModelCard | None:
        """The card beside a checkpoint, read as :meth:`read` does; None if there is none."""
        path = card_path(checkpoint)
        return cls.read(path) if path.is_file() else None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ModelCard:
        """Read and check a card.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: naming the file and the entry that is missing or of another kind.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read as a model card ({error}); {_REMEDY}") from error
        if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
            raise ValueError(f"{path} is no model card: its schema is not {_SCHEMA!r}; {_REMEDY}")
        version = content.get("schema_version")
        if type(version) is not int or version != _VERSION:
            raise ValueError(
                f"{path} has version {version!r} of the model card, this package reads {_VERSION}; use the version of "
                "condseg_monai that wrote it"
            )
        try:
            return cls(**_values_of(content))
        except KeyError as error:
            raise ValueError(f"{path}: the model card has no entry {error}; {_REMEDY}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: {error}; {_REMEDY}") from error


_INPUT = {"kind", "image_size", "anti_aliasing", "normalization", "window_hu"}
_OUTPUT = {"threshold", "class_names", "class_values"}
_FACTS = ("weights", "training", "versions")
_REMEDY = "take the card that came with the weights, or move it away and give the options yourself"


def _values_of(content: Mapping[str, Any]) -> dict[str, Any]:
    reads, writes = _mapping(content, "input"), _mapping(content, "output")
    if unknown := sorted(reads.keys() - _INPUT | writes.keys() - _OUTPUT):
        raise ValueError(f"the model card has an entry {unknown[0]}, which this package does not know")
    size, window, names = reads["image_size"], reads["window_hu"], writes["class_names"]
    # cards of the first trainings had neither
    class_values, anti_aliasing = writes.get("class_values"), reads.get("anti_aliasing", False)
    values = {
        "method": content["method"],
        "network": dict(_mapping(content, "network")),
        "kind": reads["kind"],
        "image_size": size,
        "anti_aliasing": anti_aliasing,
        "normalization": reads["normalization"],
        "window_hu": None if window is None else tuple(window),
        "threshold": writes["threshold"],
        "class_names": tuple(names) if isinstance(names, list) else names,
        "class_values": tuple(class_values) if isinstance(class_values, list) else class_values,
        **{name: _mapping(content, name) for name in _FACTS},
    }
    if not isinstance(values["weights"].get("sha256"), str):
        raise ValueError("the model card has no SHA-256 of its weights")
    plain = (bool, int, float, str, type(None))
    checks = {
        "method": isinstance(values["method"], str),
        "network": all(isinstance(value, plain) for value in values["network"].values()),
        "kind": values["kind"] in ("image", "ct"),
        "image_size": type(size) is int and size > 0,
        "anti_aliasing": isinstance(anti_aliasing, bool),
        "normalization": isinstance(values["normalization"], str),
        "window_hu": _is_window(window) if window is not None else values["kind"] != "ct",
        "threshold": _are_numbers([values["threshold"]]) and 0 < values["threshold"] < 1,
        "class_names": isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names),
        "class_values": class_values is None or (isinstance(class_values, list) and len(class_values) == len(names)),
    }
    if wrong := [name for name, is_right in checks.items() if not is_right]:
        raise ValueError(f"the model card's {wrong[0]} cannot be {values[wrong[0]]!r}")
    return values


def _mapping(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content[name]
    if not isinstance(value, dict):
        raise TypeError(f"the model card's {name} must be an object, got {value!r}")
    return value


def _is_window(values: Sequence[Any]) -> bool:
    return _are_numbers(values) and len(values) == 2 and values[0] < values[1]


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value) for value in values)
