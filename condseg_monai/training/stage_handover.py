"""Weights that a training starts from: stage 1's encoder, a whole model, or published weights of an encoder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from condseg_monai.networks.class_names import CLASS_NAMES_KEY
from condseg_monai.networks.encoders import load_encoder_weights
from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.networks.state_dicts import describe_differences, name_keys, optional_path, read_state_dict

__all__ = ["start_from_model", "start_from_stage1"]

_ENCODER = "encoder."
_HOW_TO_GET_ONE = (
    "train it first (in the bundle folder: python -m monai.bundle run --config_file configs/train_stage1.json "
    "--dataset_dir DIR), give another file with --stage1_checkpoint FILE, or train in one stage with "
    "--stage1_checkpoint null"
)


def start_from_stage1(
    network: nn.Module,
    stage1_checkpoint: str | os.PathLike[str] | None,
    encoder_weights: str | os.PathLike[str] | None = None,
    init_from: str | os.PathLike[str] | None = None,
) -> None:
    """Fill a network's encoder with the one that stage 1 trained, or, in one-stage training, with published weights.

    Source: ConDSeg (AAAI 2025): the encoder that Consistency Reinforcement optimised is where the second stage starts.
    Every parameter and buffer of the encoder is filled, BatchNorm's running statistics included, or nothing is changed
    and the call fails. Nothing else of the checkpoint is used.

    Args:
        network: has the encoder to fill as ``.encoder``.
        stage1_checkpoint: a state_dict whose encoder keys start with ``encoder.``, as ``train_stage1.json`` writes it;
            ``None`` or ``"null"`` to train in one stage, which is announced in the log.
        encoder_weights: what the encoder starts from in one-stage training: see
            :func:`~condseg_monai.networks.encoders.load_encoder_weights`. Not looked at with a ``stage1_checkpoint``.
        init_from: see :func:`start_from_model`; with one, neither of the two is looked at.

    Raises:
        FileNotFoundError: if a file does not exist; the message says how to get one.
        ValueError: if the file is damaged or a whole model, or its encoder keys or their shapes are not those of the
            network's encoder; the message names the file and the keys, and the option that takes it.
    """
    logger = logging.getLogger(__name__)
    path = optional_path(stage1_checkpoint)
    if optional_path(init_from) is not None:
        start_from_model(network, init_from)
        return
    if path is None:
        logger.warning("stage1_checkpoint is null: one-stage training, the encoder does not start from stage 1")
        load_encoder_weights(network, encoder_weights)
        return
    if not path.is_file():
        raise FileNotFoundError(f"stage1_checkpoint: {path} does not exist: {_HOW_TO_GET_ONE}")
    checkpoint = read_state_dict(path, "stage1_checkpoint")
    found = {key: value for key, value in checkpoint.items() if key.startswith(_ENCODER)}
    encoder = network.get_submodule("encoder")
    expected = {f"{_ENCODER}{key}": value for key, value in encoder.state_dict().items()}
    if _is_whole_model(path, checkpoint, network):
        raise ValueError(
            f"stage1_checkpoint {path} is a whole model, not the first stage's: --init_from {path} starts from all its "
            "weights"
        )
    if checkpoint.keys() >= {key.removeprefix(_ENCODER) for key in expected}:
        raise ValueError(
            f"stage1_checkpoint {path} holds weights of a bare encoder: --encoder_weights {path} takes them, with "
            "--stage1_checkpoint null"
        )
    if differences := describe_differences(found, expected):
        raise ValueError(
            f"stage1_checkpoint {path} does not fit this encoder (is `encoder` the same in both stages?): {differences}"
        )
    encoder.load_state_dict({key.removeprefix(_ENCODER): value for key, value in found.items()})
    logger.info(f"The encoder starts from {path}: {len(found)} tensors")


def start_from_model(
    network: nn.Module,
    init_from: str | os.PathLike[str] | None,
    encoder_weights: str | os.PathLike[str] | None = None,
) -> None:
    """Fill a network with all weights of a trained model that fit it, to fine-tune it.

    A weight fits if name and shape are the same. The log names the others, with the reason.

    Args:
        network: is changed in place.
        init_from: a state_dict of any model, or the folder of its run, with ``models/model.pt``; ``None`` or ``"null"``
            to start from ``encoder_weights`` instead.
        encoder_weights: see :func:`~condseg_monai.networks.encoders.load_encoder_weights`.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged or not finite, or has no weight that fits; the message names it, and the option
            that takes it.
    """
    path = optional_path(init_from)
    if path is None:
        load_encoder_weights(network, encoder_weights)
        return
    path = path / "models" / "model.pt" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"init_from: {path} does not exist; give the checkpoint of a trained model, or the folder of its run"
        )
    found = read_state_dict(path, "init_from")
    own = {key: value for key, value in network.state_dict().items() if key != CLASS_NAMES_KEY}
    fitting = {key: value for key, value in found.items() if key in own and value.shape == own[key].shape}
    if not fitting:
        raise ValueError(_nothing_fits(path, found, own))
    network.load_state_dict(fitting, strict=False)
    logger = logging.getLogger(__name__)
    logger.info(f"The network starts from {path}: {len(fitting)} of its {len(own)} tensors")
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(own[key].shape)}"
        for key in (found.keys() & own.keys()) - fitting.keys()
    ]
    for what, names in {
        "keep their first values, since the file has them in other shapes": shapes,
        "keep their first values, since the file has none": own.keys() - found.keys(),
        "of the file are not used, since the network has none": found.keys() - own.keys() - {CLASS_NAMES_KEY},
    }.items():
        if names:
            logger.warning(f"init_from: {len(names)} tensors {what}: {name_keys(names)}")


def _is_whole_model(path: Path, checkpoint: Mapping[str, Tensor], network: nn.Module) -> bool:
    """By its card or, without one, by what it has beside the encoder."""
    if card := ModelCard.of(path):
        return card.method in METHODS and not card.method.endswith("_stage1")
    common = checkpoint.keys() & network.state_dict().keys() - {CLASS_NAMES_KEY}
    return any(not key.startswith(_ENCODER) for key in common)


def _nothing_fits(path: Path, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    text = f"init_from: no weight of {path} fits the network"
    if found.keys() & {key.removeprefix(_ENCODER) for key in own if key.startswith(_ENCODER)}:
        return f"{text}: it holds a bare encoder, which --encoder_weights {path} takes"
    return f"{text}: it is of another method or encoder (it has {name_keys(found, 4)}, the network {name_keys(own, 4)})"
