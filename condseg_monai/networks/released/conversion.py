"""Convert a released checkpoint file into one the bundle loads, with its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.model_card import ModelCard, card_path
from condseg_monai.networks.released.condseg import from_released
from condseg_monai.networks.released.dec_seg import merge_binary_logits
from condseg_monai.networks.state_dicts import read_state_dict
from condseg_monai.utils.files import atomic_write, file_sha256
from condseg_monai.version import __version__

__all__ = ["convert_checkpoint"]


_CARDS: dict[str, dict[str, Any]] = {
    "condseg_stage1": {"method": "condseg_stage1", "encoder": "resnet50"},
    "condseg_stage2": {"method": "condseg", "encoder": "resnet50", "decoder_channels": 128, "cdfa": "released"},
    "condseg_pvt": {"method": "condseg", "encoder": "pvt_v2_b2", "decoder_channels": 128, "cdfa": "released"},
    "dec_seg": {"method": "dec_seg", "encoder": "res2net50_v1b", "cfa": True, "down_scale": True, "dcf": True},
    "med_disseg_stage1": {"method": "med_disseg_stage1", "encoder": "resnet50"},
    "med_disseg_stage2": {"method": "med_disseg", "encoder": "resnet50", "decoder_channels": 128, "cdfa": "released"},
}


def convert_checkpoint(source: Path, target: Path, model: str, overwrite: bool = False) -> None:
    """Convert a released checkpoint file and write our network's ``state_dict`` and its model card.

    Args:
        source: a ``.pth`` file with the released ``state_dict``, alone or under ``"state_dict"`` or ``"model"``; names
            may start with ``module.``.
        target: the file to write, ``.pt``; read by ``stage1_checkpoint`` (stage 1) or ``inference.json`` (stage 2 and
            DEC-Seg, whose two logits are made one: foreground minus background). A network's card is beside it.
        model: a key of :data:`RELEASED_MODELS`.
        overwrite: replace ``target`` if it exists.

    Raises:
        FileExistsError: if ``target`` exists and ``overwrite`` is false.
        ValueError: if ``source`` is no such file; the message says what was found.
    """
    card = card_path(target)
    if target.suffix == card.suffix:
        raise ValueError(f"target {target} cannot end in {card.suffix}, as its model card does; call it model.pt")
    if existing := [path for path in (target, card) if path.exists() and not overwrite]:
        raise FileExistsError(f"{existing[0]} exists; give another file, or --overwrite to replace it")
    released = read_state_dict(source, "source", wrappers=("state_dict", "model"))
    released = {key.removeprefix("module."): value for key, value in released.items()}
    converted = from_released(released, model).state_dict()
    if model == "dec_seg":
        converted = merge_binary_logits(converted)
    card.unlink(missing_ok=True)  # of the file that is replaced
    with atomic_write(target) as temporary:
        torch.save(converted, temporary)
    if model not in _CARDS:  # a generator
        return
    shape = dict(_CARDS[model])
    method = shape.pop("method")
    ModelCard(
        method=method,
        network={"in_channels": 3, "out_channels": 1, **METHODS[method].options, **shape},
        image_size=METHODS[method].image_size,
        normalization="released",
        weights={"file": target.name, "sha256": file_sha256(target)},
        training={"converted_from": source.name, "released_model": model, "sha256": file_sha256(source)},
        versions={"condseg_monai": __version__, "torch": torch.__version__},
    ).write(card)
