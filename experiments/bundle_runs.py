"""Run the bundle's configs in this process, as ``python -m monai.bundle run`` does."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


class Files(NamedTuple):
    """The config files of each step of a method, by name, in the order in which they are read."""

    train: tuple[str, ...]
    predict: tuple[str, ...]
    stage1: tuple[str, ...] = ()
    """Empty for a method of one stage."""

    @property
    def evaluate(self) -> tuple[str, ...]:
        """The files that score images."""
        return (*self.train, "evaluate")


METHODS = {
    "condseg": Files(("train_stage2",), ("inference",), ("train_stage1",)),
    "dec_seg": Files(("train_dec_seg",), ("inference",)),
    "med_disseg": Files(("train_stage2", "med_disseg"), ("inference",), ("train_stage1", "med_disseg")),
    "condseg_student": Files(("train_dec_seg", "semi_supervised_condseg"), ("inference",)),
    "unet": Files(("train_stage2", "unet"), ("inference",)),
}


def read_configs(files: Iterable[str]) -> list[dict[str, Any]]:
    """Read config files by name."""
    return [json.loads((BUNDLE / "configs" / f"{file}.json").read_text(encoding="utf-8")) for file in files]


def option_names(files: Iterable[str]) -> set[str]:
    """Names of the options of config files that are read together."""
    blocks = (config.get("options", config.get("+options", {})) for config in read_configs(files))
    return {name for block in blocks for name in block if name != "_target_"}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Read ``--name value`` and ``--name=value``.

    Args:
        words: of the command line. Values are Python literals (``None``, ``1e-3``), all others text.

    Raises:
        ValueError: if a name has no value, or a value no name.
    """
    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise ValueError(f"expected --name value, got {name!r}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} needs a value")
            text = rest.pop(0)
        try:
            options[name[2:]] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name[2:]] = text
    return options


def without_card_options(files: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what evaluation and inference read from the card of the model that was trained with the options."""
    from condseg_monai.utils.options import CARD_OPTIONS  # takes seconds, and --help should not

    uses_card = "evaluate" in files or files[0].startswith("inference")
    return {name: value for name, value in options.items() if not (uses_card and name in CARD_OPTIONS)}


def check_options(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse options that no config has.

    Raises:
        ValueError: naming them, each with the option that it looks like, and all there are.
    """
    if unknown := [name for name in given if name not in known]:
        from condseg_monai.utils.command_line import unknown_options  # takes seconds, and --help should not

        raise ValueError(f"{unknown_options(unknown, known)}; there are {', '.join(sorted(known))}")


def open_run(files: Sequence[str], options: Mapping[str, Any], workflow_type: str = "train") -> ConfigWorkflow:
    """Initialise a workflow of config files.

    Args:
        files: by name, read together.
        options: those that the files do not have, or have from the model card, are left out; ``name#part`` replaces a
            part of ``name``.
        workflow_type: ``"train"`` or ``"infer"``.
    """
    from monai.bundle import ConfigWorkflow  # takes seconds, and --help should not

    names = {name for config in read_configs(files) for name in config}
    options = without_card_options(files, options)
    logging.getLogger("monai.bundle.workflows").addFilter(_is_no_logging_notice)
    workflow = ConfigWorkflow(
        [str(BUNDLE / "configs" / f"{file}.json") for file in files],
        logging_file=False,
        workflow_type=workflow_type,
        bundle_root=str(BUNDLE),
        **{name: value for name, value in options.items() if name.split("#")[0] in names},
    )
    workflow.initialize()
    return workflow


def run(files: Sequence[str], options: Mapping[str, Any], workflow_type: str = "train") -> None:
    """Run config files from beginning to end; see :func:`open_run`."""
    workflow = open_run(files, options, workflow_type)
    workflow.run()
    workflow.finalize()


def root_cause(error: BaseException) -> BaseException:
    """The exception behind those that MONAI wraps around what a config's component raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_no_logging_notice(record: logging.LogRecord) -> bool:
    """False for MONAI's notice that logging is left to this program."""
    return not record.getMessage().startswith("Logging file is set to False")
