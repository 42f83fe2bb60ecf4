"""``python -m condseg_monai convert-checkpoint``: a released checkpoint file into one the bundle loads."""

from __future__ import annotations

from pathlib import Path

import torch

from condseg_monai.networks.released.condseg import from_released
from condseg_monai.networks.released.dec_seg import merge_binary_logits
from condseg_monai.networks.state_dicts import read_state_dict
from condseg_monai.utils.files import atomic_write

__all__ = ["convert_checkpoint"]


def convert_checkpoint(source: Path, target: Path, model: str, overwrite: bool = False) -> None:
    """Convert a released checkpoint file and write our network's ``state_dict``.

    Args:
        source: a ``.pth`` file with the released ``state_dict``, alone or under ``"state_dict"`` or ``"model"``; names
            may start with ``module.``.
        target: the file to write; read by ``stage1_checkpoint`` (stage 1) or ``inference.json`` (stage 2, and with
            ``dec_seg.json`` DEC-Seg, whose two logits are made one: foreground minus background).
        model: a key of :data:`RELEASED_MODELS`.
        overwrite: replace ``target`` if it exists.

    Raises:
        FileExistsError: if ``target`` exists and ``overwrite`` is false.
        ValueError: if ``source`` is no such file; the message says what was found.
    """
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; give another file, or --overwrite to replace it")
    released = read_state_dict(source, "source", wrappers=("state_dict", "model"))
    released = {key.removeprefix("module."): value for key, value in released.items()}
    converted = from_released(released, model).state_dict()
    if model == "dec_seg":
        converted = merge_binary_logits(converted)
    with atomic_write(target) as temporary:
        torch.save(converted, temporary)
