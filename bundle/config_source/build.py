#!/usr/bin/env python
"""Merge the parts in this folder into ``bundle/configs/*.json``, which are generated: change the parts, then run this.

Parts are read as MONAI reads several config files: a later one adds, replaces (``a#b``) or extends (``+a``). Handlers
and transforms have names here and become the lists that MONAI wants; null is what a later part has to fill in or may
leave out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from condseg_monai.utils.options import OPTION_GROUPS, OPTIONS, option_defaults

SOURCE = Path(__file__).resolve().parent
CONFIGS = SOURCE.parent / "configs"
OPTIONS_PAGE = SOURCE.parents[1] / "docs" / "reference" / "options.md"
OPTIONS_INTRODUCTION = """# Options

<!-- Written by bundle/config_source/build.py from condseg_monai/utils/options.py: change that. -->

What each option means and which values it takes; `condseg options` prints the same. Every name means the same in every
config that has it, and where configs differ their defaults follow that of stage 2. `null` in evaluation and inference:
the [model card](files.md#the-model-card) decides. How options are written: [the command](../command.md#options), and
for `python -m monai.bundle run` the bundle's `docs/README.md`.

Defaults are the paper's (256 pixels, batch 4, Adam, 1e-4, encoder 1e-5 in stage 2, K = 3) and, where it is silent, the
released code's (300 epochs, patience 100 and 30). Where they differ is in the table of
[presets](presets.md#presets).
"""
STAGE_2 = ["common", "condseg", "training", "supervised", "train_stage2"]
BASES = {  # each runs alone
    "train": [*STAGE_2, "from_card", "train"],
    "train_stage1": ["common", "training", "supervised", "train_stage1"],
    "train_stage2": STAGE_2,
    "train_dec_seg": ["common", "training", "dec_seg", "train_dec_seg"],
    "inference": ["common", "from_card", "inference"],
    "inference_synapse": ["common", "from_card", "inference_synapse"],
    "inference_ct": ["common", "from_card", "inference_ct"],
}
OVERLAYS = {  # each is read after a base
    "evaluate": ["from_card", "evaluate"],
    "condseg_baseline": ["condseg_baseline"],
    "flexible_unet": ["flexible_unet"],
    "med_disseg": ["med_disseg"],
    "multi_gpu_inference": ["multi_gpu_inference"],
    "multi_gpu_semi_supervised": ["multi_gpu", "multi_gpu_semi_supervised"],
    "preset_recommended": ["preset_recommended"],
    "preset_released": ["preset_released"],
    "multi_gpu_train": ["multi_gpu", "multi_gpu_train"],
    "semi_supervised_condseg": ["condseg", "semi_supervised_condseg"],
    "synapse": ["synapse"],
    "unet": ["unet"],
    "unet_plus_plus": ["unet", "unet_plus_plus"],
    "attention_unet": ["unet", "attention_unet"],
    "without_cr": ["without_cr"],
}
NAMED = {"transforms": ("read", "augment"), "train": ("handlers",), "validate": ("handlers",)}
NOTE = {"_generated_": "by bundle/config_source/build.py from the parts beside it: change those"}
WIDTH = 119


def build(name: str) -> str:
    """Return the text of a config.

    Args:
        name: of the config, without ``.json``.
    """
    if name in OVERLAYS:
        config = {key: value for part in OVERLAYS[name] for key, value in _read(part).items()}
    else:
        config = ConfigParser.load_config_files([str(SOURCE / f"{part}.json") for part in BASES[name]])
        for part, names in NAMED.items():
            for key in names if part in config else ():
                config[part][key] = [item for item in config[part][key].values() if item is not None]
    options = {key: config.pop(key) for key in OPTIONS if key in config}
    steps = {key: config.pop(key) for key in ("initialize", "run", "finalize") if key in config}
    block = {name: f"@{name}" for name in options}
    imports = {"imports": config.pop("imports")} if name in BASES else {}
    key, block = (
        ("options", {"_target_": "condseg_monai.read_options", **block}) if name in BASES else ("+options", block)
    )
    return _text({**NOTE, **imports, **options, **({key: block} if block else {}), **config, **steps}, top=True) + "\n"


def _read(part: str) -> dict[str, Any]:
    return json.loads((SOURCE / f"{part}.json").read_text(encoding="utf-8"))


def _text(value: Any, indent: int = 0, used: int = 0, top: bool = False) -> str:
    """Write JSON with what fits on a line on one line, and of many plain items several on each."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or (not top and indent + used + len(line) <= WIDTH):
        return line
    pairs = value.items() if isinstance(value, dict) else (("", item) for item in value)
    items = []
    for key, item in pairs:
        name = f"{json.dumps(key)}: " if key else ""
        items.append(name + _text(item, indent + 4, len(name)))
    start = "\n" + " " * (indent + 4)
    text, room = "", 0
    for item in items:
        plain = not top and len(items) > 20 and "{" not in line[1:]
        room -= len(item) + 2
        text += f", {item}" if plain and text and room >= 0 else f",{start}{item}" if text else f"{start}{item}"
        room = room if plain and room >= 0 else WIDTH - indent - 4 - len(item)
    return f"{line[0]}{text}\n{' ' * indent}{line[-1]}"


def options_page() -> str:
    """Return the documentation's page of all options, a table for each group, with the default of each config."""
    configs = {name: json.loads(build(name)) for name in {**BASES, **OVERLAYS} if name != "train"}
    text = OPTIONS_INTRODUCTION
    for group, options in OPTION_GROUPS.items():
        text += f"\n## {group.capitalize()}\n\n| option | default | values | meaning |\n|---|---|---|---|\n"
        for name, option in options.items():
            text += f"| `{name}` | {option_defaults(name, configs)} | {option.values} | {option.meaning} |\n"
    return text


def main() -> None:
    """Write all configs and the page of options."""
    for name in {**BASES, **OVERLAYS}:
        (CONFIGS / f"{name}.json").write_text(build(name), encoding="utf-8")
    OPTIONS_PAGE.write_text(options_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
