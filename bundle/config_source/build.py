#!/usr/bin/env python
"""Merge the parts in this folder into ``bundle/configs/*.json``, which are generated: change the parts, then run this.

Parts are read as MONAI reads several config files: a later one adds, replaces (``a#b``) or extends (``+a``). Handlers
have names here and become the lists that MONAI wants; null is what a later part has to fill in or may leave out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

SOURCE = Path(__file__).resolve().parent
CONFIGS = SOURCE.parent / "configs"
STAGE_2 = ["common", "condseg", "training", "supervised", "train_stage2"]
BASES = {  # each runs alone
    "train": STAGE_2,
    "train_stage1": ["common", "training", "supervised", "train_stage1"],
    "train_stage2": STAGE_2,
    "train_dec_seg": ["common", "training", "dec_seg", "train_dec_seg"],
    "inference": ["common", "condseg", "inference"],
    "inference_synapse": ["common", "condseg", "inference_synapse"],
}
OVERLAYS = {  # each is read after a base
    "dec_seg": ["dec_seg"],
    "evaluate": ["evaluate"],
    "med_disseg": ["med_disseg"],
    "multi_gpu_semi_supervised": ["multi_gpu", "multi_gpu_semi_supervised"],
    "multi_gpu_train": ["multi_gpu", "multi_gpu_train"],
    "semi_supervised_condseg": ["condseg", "semi_supervised_condseg"],
    "synapse": ["synapse"],
    "unet": ["unet_inference", "unet"],
    "unet_inference": ["unet_inference"],
}
NOTE = {"_generated_": "by bundle/config_source/build.py from the parts beside it: change those"}
WIDTH = 116


def build(name: str) -> str:
    """Return the text of a config.

    Args:
        name: of the config, without ``.json``.
    """
    if name in OVERLAYS:
        config = {key: value for part in OVERLAYS[name] for key, value in _read(part).items()}
    else:
        config = ConfigParser.load_config_files([str(SOURCE / f"{part}.json") for part in BASES[name]])
        for engine in ("train", "validate"):
            if engine in config:
                config[engine]["handlers"] = [item for item in config[engine]["handlers"].values() if item is not None]
    return _text({**NOTE, **_plain_first(config)}, top=True) + "\n"


def _read(part: str) -> dict[str, Any]:
    return json.loads((SOURCE / f"{part}.json").read_text(encoding="utf-8"))


def _plain_first(config: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(config.items(), key=lambda item: item[0] != "imports" and isinstance(item[1], (dict, list))))


def _text(value: Any, indent: int = 0, used: int = 0, top: bool = False) -> str:
    """Write JSON with what fits on a line on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or (not top and indent + used + len(line) <= WIDTH):
        return line
    inner = " " * (indent + 4)
    if isinstance(value, list):
        items = [_text(item, indent + 4) for item in value]
    else:
        keys = [f"{json.dumps(key)}: " for key in value]
        items = [key + _text(item, indent + 4, len(key)) for key, item in zip(keys, value.values(), strict=True)]
    first, last = "[]" if isinstance(value, list) else "{}"
    return f"{first}\n{inner}" + f",\n{inner}".join(items) + f"\n{' ' * indent}{last}"


def main() -> None:
    """Write all configs."""
    for name in {**BASES, **OVERLAYS}:
        (CONFIGS / f"{name}.json").write_text(build(name), encoding="utf-8")


if __name__ == "__main__":
    main()
