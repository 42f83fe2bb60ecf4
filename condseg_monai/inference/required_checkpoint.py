"""Checkpoint of a run: checked against the network before any work, and hashed as it is read, once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from condseg_monai.networks.class_names import class_names_of, set_class_names
from condseg_monai.networks.state_dicts import describe_differences, read_state_dict

__all__ = ["RequiredCheckpoint", "RequiredCheckpointLoader"]

_REMEDY = (
    "train it with train_stage1.json and train_stage2.json, convert a released one with "
    "python -m condseg_monai convert-checkpoint, or set ckpt_dir or checkpoint to the file you have"
)


class RequiredCheckpoint:
    """Checkpoint that a run needs, for one network; read once. Class names in it become the network's."""

    def __init__(self, path: str | os.PathLike[str], network: nn.Module) -> None:
        self.path, self.network = Path(path), network
        self.sha256: str | None = None
        self.class_names: tuple[str, ...] | None = None

    def load(self) -> None:
        """Load the weights, unless they are loaded already.

        Raises:
            FileNotFoundError: if there is no such file; the message says how to get one.
            ValueError: if it is damaged or of another network; the message names the file and the keys.
        """
        if self.sha256 is not None:
            return
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} is missing: {_REMEDY}")
        content = self.path.read_bytes()
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
        network.load_state_dict(state)
        self.sha256 = hashlib.sha256(content).hexdigest()

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
