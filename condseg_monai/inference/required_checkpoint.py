"""Checkpoint of a run: checked against the network before any work, and hashed as it is read, once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from condseg_monai.networks.class_names import class_names_of, set_class_names
from condseg_monai.networks.model_card import ModelCard, card_path
from condseg_monai.networks.state_dicts import describe_differences, read_state_dict

__all__ = ["RequiredCheckpoint", "RequiredCheckpointLoader"]

_REMEDY = (
    "train it with train_stage1.json and train_stage2.json, convert a released one with "
    "condseg convert, or give the file you have by --checkpoint, or its folder by --ckpt_dir; "
    "outside the bundle's folder give --bundle_root too"
)


class RequiredCheckpoint:
    """Checkpoint that a run needs, for one network; read once. Class names in it become the network's.

    ``card`` has the settings that the run uses it with; where it is that of the file, the file must be the one it
    describes.
    """

    def __init__(self, path: str | os.PathLike[str], network: nn.Module, card: ModelCard | None = None) -> None:
        self.path, self.network, self.card = Path(path), network, card
        self.sha256: str | None = None
        self.class_names: tuple[str, ...] | None = None

    def load(self) -> None:
        """Load the weights, unless they are loaded already.

        Raises:
            FileNotFoundError: if there is no such file; the message says how to get one.
            ValueError: if it is damaged, not finite, of another network or not what its card describes; the message
                names the file and the keys.
        """
        if self.sha256 is not None:
            return
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} is missing: {_REMEDY}")
        content = self.path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        described = self.card.weights.get("sha256") if self.card is not None else None
        if described not in (None, sha256):
            raise ValueError(
                f"checkpoint: {card_path(self.path)} describes other weights than {self.path} (SHA-256 "
                f"{described[:12]}... and {sha256[:12]}...): take the card that "
                "came with the weights. A training that was killed while it "
                "wrote them writes both again with --resume true"
            )
        state = read_state_dict(self.path, "checkpoint", content=content)
        network = getattr(self.network, "module", self.network)
        self.class_names = class_names_of(state)
        if self.class_names is not None:
            set_class_names(network, self.class_names)
        if differences := describe_differences(state, network.state_dict()):
            raise ValueError(
                f"checkpoint: {self.path} does not fit the network; encoder, decoder_channels, cdfa and class_names "
                f"must be those it was trained with: {differences}"
            )
        for key, value in network.state_dict().items():
            if state[key].is_floating_point() != value.is_floating_point():
                raise ValueError(
                    f"checkpoint: {self.path} holds {state[key].dtype} in {key}, where {value.dtype} belongs; give "
                    "another"
                )
        network.load_state_dict(state)
        self.sha256 = sha256

    def describe(self) -> dict[str, str | None]:
        """The file and its SHA-256, None if it is not loaded, as records have them."""
        return {"checkpoint": str(self.path), "checkpoint_sha256": self.sha256}


class RequiredCheckpointLoader:
    """Handler that loads a checkpoint when an engine starts, if that is not done. MONAI FL disables it by its name."""

    def __init__(self, weights: RequiredCheckpoint) -> None:
        self.weights = weights

    def attach(self, engine: Engine) -> None:
        """Load when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, lambda _: self.weights.load())
