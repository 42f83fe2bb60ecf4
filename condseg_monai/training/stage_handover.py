"""Start the second stage from the first stage's encoder."""

from __future__ import annotations

import logging
import os

from torch import nn

from condseg_monai.networks.encoders import load_encoder_weights
from condseg_monai.networks.state_dicts import describe_differences, optional_path, read_state_dict

__all__ = ["start_from_stage1"]

_HOW_TO_GET_ONE = (
    "train it first (in the bundle folder: python -m monai.bundle run --config_file configs/train_stage1.json "
    "--dataset_dir DIR), give another file with --stage1_checkpoint FILE, or train in one stage with "
    "--stage1_checkpoint null"
)


def start_from_stage1(
    network: nn.Module,
    stage1_checkpoint: str | os.PathLike[str] | None,
    encoder_weights: str | os.PathLike[str] | None = None,
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

    Raises:
        FileNotFoundError: if a file does not exist; the message says how to get one.
        ValueError: if the file is damaged, or its encoder keys or their shapes are not those of the network's encoder;
            the message names the file and the keys.
    """
    logger = logging.getLogger(__name__)
    path = optional_path(stage1_checkpoint)
    if path is None:
        logger.warning("stage1_checkpoint is null: one-stage training, the encoder does not start from stage 1")
        load_encoder_weights(network, encoder_weights)
        return
    if not path.is_file():
        raise FileNotFoundError(f"stage1_checkpoint: {path} does not exist: {_HOW_TO_GET_ONE}")
    checkpoint = read_state_dict(path, "stage1_checkpoint")
    found = {key: value for key, value in checkpoint.items() if key.startswith("encoder.")}
    encoder = network.get_submodule("encoder")
    expected = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    if differences := describe_differences(found, expected):
        raise ValueError(
            f"stage1_checkpoint {path} does not fit this encoder (is `encoder` the same in both stages?): {differences}"
        )
    encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in found.items()})
    logger.info(f"The encoder starts from {path}: {len(found)} tensors")
