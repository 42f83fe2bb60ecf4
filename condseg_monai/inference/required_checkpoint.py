"""The checkpoint that a run cannot do without, and the one that outputs of an earlier run were made with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from condseg_monai.networks.state_dicts import check_checkpoint
from condseg_monai.utils.files import file_sha256

__all__ = ["describe_weights", "refuse_other_weights", "require_checkpoint"]


def require_checkpoint(
    checkpoint: str | os.PathLike[str], network: nn.Module | None, remedy: str, error: type[Exception]
) -> None:
    """Raise unless a checkpoint is there and fits.

    Args:
        checkpoint: the file.
        network: what it will be loaded into; ``None`` does not look whether it fits.
        remedy: what to do where there is no such file.
        error: what to raise.
    """
    if not Path(checkpoint).is_file():
        raise error(f"{checkpoint} is missing: {remedy}")
    if network is not None:
        try:
            check_checkpoint(checkpoint, network)
        except ValueError as misfit:
            raise error(str(misfit)) from misfit


def describe_weights(checkpoint: str | os.PathLike[str]) -> dict[str, str]:
    """What ``inference.json`` says of the weights of a run: ``checkpoint`` and ``checkpoint_sha256``."""
    return {"checkpoint": str(checkpoint), "checkpoint_sha256": file_sha256(checkpoint)}


def refuse_other_weights(summary: Path, weights: Mapping[str, str], error: type[Exception]) -> None:
    """Raise if outputs about to be kept were made with other weights. One file under two names is no other.

    Args:
        summary: the ``inference.json`` beside the outputs; one that is missing, damaged or silent on weights passes.
        weights: those of this run, from :func:`describe_weights`.
        error: what to raise.
    """
    try:
        earlier = json.loads(summary.read_text(encoding="utf-8"))
        name, sha256 = earlier["checkpoint"], earlier["checkpoint_sha256"]
    except (KeyError, OSError, TypeError, ValueError):
        return
    if sha256 is not None and sha256 != weights["checkpoint_sha256"]:
        raise error(
            f"{summary.parent} has outputs of other weights: {summary} names {name} (SHA-256 {sha256[:12]}...), this "
            f"run has {weights['checkpoint']}; give another output_dir, or make them again with --overwrite true"
        )
