"""Run the bundle's configs in this process, as ``python -m monai.bundle run`` does."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.command_line import command_word, config_value, fire_word
from condseg_monai.utils.options import CARD_OPTIONS

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

__all__ = [
    "command_of",
    "command_of_model",
    "config_file",
    "open_run",
    "option_names",
    "options_for",
    "read_configs",
    "run",
    "without_card_options",
]


def config_file(name: str) -> Path:
    """The config file of a name."""
    return bundle_dir() / "configs" / f"{name}.json"


def read_configs(files: Iterable[str]) -> list[dict[str, Any]]:
    """Read config files by name."""
    return [json.loads(config_file(file).read_text(encoding="utf-8")) for file in files]


def option_names(files: Iterable[str]) -> set[str]:
    """Names of the options that config files use when they are read together."""
    configs = read_configs(files)
    blocks = (config.get("options", config.get("+options", {})) for config in configs)
    unused = {name for config in configs for name in config.get("unused_options", ())}
    return {name for block in blocks for name in block if name != "_target_"} - unused


def without_card_options(files: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what evaluation and inference read from the card of the model that was trained with the options."""
    uses_card = "evaluate" in files or files[0].startswith("inference")
    return {name: value for name, value in options.items() if not (uses_card and name in CARD_OPTIONS)}


def options_for(files: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the options that the files have; those for stage 1 lose their prefix ``stage1_``."""
    names = option_names(files)
    chosen = {name: value for name, value in options.items() if name in names}
    if "train_stage1" in files:
        stage1 = {name.removeprefix("stage1_"): options[name] for name in options if name.startswith("stage1_")}
        chosen |= {name: value for name, value in stage1.items() if name in names}
    return chosen


def open_run(files: Sequence[str], options: Mapping[str, Any], workflow_type: str = "train") -> ConfigWorkflow:
    """Initialise a workflow of config files.

    Args:
        files: by name, read together.
        options: those that the files do not have are left out; ``name#part`` replaces a part of ``name``.
        workflow_type: ``"train"`` or ``"infer"``.
    """
    from monai.bundle import ConfigWorkflow  # takes seconds, and --help should not

    names = {name for config in read_configs(files) for name in config}
    logging.getLogger("monai.bundle.workflows").addFilter(_is_no_logging_notice)
    workflow = ConfigWorkflow(
        [str(config_file(file)) for file in files],
        logging_file=False,
        workflow_type=workflow_type,
        bundle_root=config_value(str(bundle_dir())),
        **{name: config_value(value) for name, value in options.items() if name.split("#")[0] in names},
    )
    workflow.initialize()
    return workflow


def run(files: Sequence[str], options: Mapping[str, Any], workflow_type: str = "train") -> None:
    """Run config files from beginning to end; see :func:`open_run`."""
    workflow = open_run(files, options, workflow_type)
    workflow.run()
    workflow.finalize()


def command_of(files: Sequence[str], options: Mapping[str, Any]) -> str:
    """The command that does the same as :func:`run`, in any folder."""
    paths = [str(config_file(file)) for file in files]
    config = fire_word(paths[0] if len(paths) == 1 else paths)
    words = [f"--{name} {command_word(value)}" for name, value in options.items()]
    return " ".join(["python -m monai.bundle run --config_file", config, *words])


def command_of_model(model: str, files: Sequence[str], options: Mapping[str, Any]) -> str:
    """The command that does the same with a model as the user calls it; of a zip, whose copy is deleted, how to get it.

    Args:
        model: as :func:`~condseg_monai.inference.model_files.find_model` takes it.
        files: see :func:`command_of`.
        options: with the ``checkpoint``.
    """
    if Path(model).suffix.lower() != ".zip":
        return command_of(files, options)
    line = command_of(files, {**options, "checkpoint": "MODEL_PT"})
    return f"{line}\n  where MODEL_PT is models/model.pt of {model}, which python -m monai.bundle needs unpacked"


def _is_no_logging_notice(record: logging.LogRecord) -> bool:
    """False for MONAI's notice that logging is left to this program."""
    return not record.getMessage().startswith("Logging file is set to False")
