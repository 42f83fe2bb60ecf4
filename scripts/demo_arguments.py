"""The demo's command line: which knobs go to which of the bundle's configs."""

from __future__ import annotations

import argparse
import ast
import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLE = REPOSITORY / "bundle"

# Config files that are read together, by name.
STAGE1 = ("train_stage1",)
STAGE2 = ("train_stage2",)
EVALUATE = ("train_stage2", "evaluate")
PREDICT = ("inference",)


class Files(NamedTuple):
    """The config files of each step of a method."""

    stage1: tuple[str, ...]
    """Empty for a method of one stage."""
    stage2: tuple[str, ...]
    evaluate: tuple[str, ...]
    predict: tuple[str, ...]


METHODS = {
    "condseg": Files(STAGE1, STAGE2, EVALUATE, PREDICT),
    "dec_seg": Files((), ("train_dec_seg",), ("train_dec_seg", "evaluate"), ("inference", "dec_seg")),
    "med_disseg": Files(*((files[0], "med_disseg", *files[1:]) for files in (STAGE1, STAGE2, EVALUATE, PREDICT))),
    "condseg_student": Files(
        (),
        ("train_dec_seg", "semi_supervised_condseg"),
        ("train_dec_seg", "semi_supervised_condseg", "evaluate"),
        PREDICT,
    ),
    "unet": Files((), ("train_stage2", "unet"), ("train_stage2", "unet", "evaluate"), ("inference", "unet_inference")),
}
SYNAPSE = Files(("train_stage1", "synapse"), ("train_stage2", "synapse"), (), ("inference_synapse",))
"""ConDSeg on CT; whole volumes are scored, after prediction."""
TASKS = {"images": METHODS, "synapse": {"condseg": SYNAPSE}}
"""Task -> the methods that do it."""

# A network and a schedule that a CPU gets through in minutes; the configs' own defaults are the paper's.
SMALL: dict[str, Any] = {
    "encoder": "resnet18",
    "encoder_weights": None,
    "decoder_channels": 32,
    "image_size": 96,
    "batch_size": 4,
    "epochs": 10,
    "stage1_epochs": 5,
    "learning_rate": 1e-3,
    "encoder_learning_rate": 1e-3,
    "num_workers": 0,
    "panel_interval": 5,
    "save_probability": "png",
    "save_uncertainty": "png",
    "save_overlay": True,
}

# What a method wants otherwise: a quarter of the labels, DEC-Seg SGD's rate; some have no uncertainty to save.
SMALL_OF: dict[str, dict[str, Any]] = {
    "dec_seg": {
        "labeled_fraction": 0.25,
        "batch_size": 8,
        "epochs": 40,
        "learning_rate": 0.03,
        "encoder_learning_rate": 0.03,
        "panel_interval": 0,
        "save_uncertainty": "none",
    },
    "condseg_student": {"labeled_fraction": 0.25, "batch_size": 8, "epochs": 40},
    "unet": {"decoder_channels": 16, "panel_interval": 0, "save_uncertainty": "none"},
}

# What ConDSeg on CT starts from instead.
SMALL_CT: dict[str, Any] = {
    "encoder": "resnet18",
    "encoder_weights": None,
    "decoder_channels": 16,
    "image_size": 64,
    "batch_size": 4,
    "epochs": 16,
    "stage1_epochs": 4,
    "val_interval": 4,
    "class_balance": 0.5,
    "mirror_share": 0,
    "optimizer_name": "adam",
    "lr_schedule": "cosine",
    "learning_rate": 3e-3,
    "stage1_learning_rate": 2e-3,
    "encoder_learning_rate": 1e-3,
    "stage1_encoder_learning_rate": 2e-3,
    "num_workers": 0,
    "panel_interval": 0,
}

_STAGE1_PREFIX = "stage1_"
_PATHS = ("stage1_checkpoint", "encoder_weights", "stage1_encoder_weights")
# Set by the demo itself.
_OWN = {
    "bundle_root",
    "stage",
    "dataset_dir",
    "output_dir",
    "ckpt_dir",
    "checkpoint",
    "split",
    "overwrite",
    "progress_bar",
}
# How an expression starts that makes an object; the other values can be chosen.

USAGE = (
    "%(prog)s [--task TASK] [--method METHOD] [--dataset_dir DIR] [--output_dir DIR] [--no_stage1] [--KNOB VALUE ...]"
)
DESCRIPTION = """\
Train ConDSeg, or another --method, score it, segment images with it and draw the result, through the bundle's configs.
condseg and med_disseg train in two stages; dec_seg and condseg_student (ConDSeg in its place) in one, with
the labels of a quarter of the images; unet, MONAI's, in one. Of these three no mDSC is asked.

Without arguments it makes a small synthetic data set and fails if the validation mDSC stays under 0.80. With
--dataset_dir it takes a folder with images/, masks/, train.txt, val.txt and, if there is one, test.txt.

--task synapse does it on CT: it makes scans of a phantom, trains on their axial slices, segments whole scans and fails
if the mean Dice of the organs stays under 0.80. For your own scans see "CT volumes" in bundle/docs/README.md.

Every knob of the bundle's configs can be set, for every step that has it; with stage1_ in front, for stage 1 only:

    scripts/demo --dataset_dir DIR --image_size 96 --epochs 10 --stage1_epochs 5
    scripts/demo --dataset_dir DIR --encoder resnet50 --decoder_channels 128 --cdfa released --no_stage1
"""


class Arguments(NamedTuple):
    """What the command line says."""

    dataset_dir: Path | None
    """None for the synthetic data set."""
    output_dir: Path
    stage1: bool
    """Whether stage 1 is trained."""
    knobs: dict[str, Any]
    """``SMALL`` or ``SMALL_CT``, replaced and completed by what was given."""
    method: str = "condseg"
    """A key of ``TASKS[task]``."""
    task: str = "images"
    """A key of ``TASKS``."""


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the command line; a wrong one ends the program with a message."""
    choice = argparse.ArgumentParser("scripts/demo", usage=USAGE, add_help=False, allow_abbrev=False)
    choice.add_argument("--task", choices=TASKS, default="images", help="images of one lesion, or CT (default: images)")
    choice.add_argument("--method", choices=METHODS, default="condseg", help="what to train (default: condseg)")
    chosen, _ = choice.parse_known_args(argv)  # first, for --help to tell their knobs
    defaults = default_knobs(chosen.method, chosen.task)
    parser = argparse.ArgumentParser(
        "scripts/demo",
        usage=USAGE,
        description=DESCRIPTION,
        epilog="knobs this script sets for this task and method: "
        + ", ".join(f"{name} {value}" for name, value in defaults.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[choice],
        allow_abbrev=False,
    )
    parser.add_argument("--dataset_dir", metavar="DIR", type=Path, help="your data instead of synthetic images")
    parser.add_argument(
        "--output_dir",
        metavar="DIR",
        type=Path,
        default=REPOSITORY / "demo_output",
        help="gets a new numbered folder in every run (default: demo_output in the repository)",
    )
    parser.add_argument("--no_stage1", action="store_true", help="train in one stage, the encoder from encoder_weights")
    options, rest = parser.parse_known_args(argv)
    if options.method not in TASKS[options.task]:
        parser.error(f"--task {options.task} has no --method {options.method}")
    if options.task == "synapse" and options.dataset_dir is not None:
        parser.error('--task synapse takes no --dataset_dir: bundle/docs/README.md, "CT volumes", has the commands')
    try:
        given = parse_knobs(rest)
        refuse_unknown(given, options.method, options.task)
    except ValueError as error:
        parser.error(str(error))
    if options.no_stage1 and "stage1_checkpoint" in given:
        parser.error("--no_stage1 and --stage1_checkpoint exclude each other")
    return Arguments(
        dataset_dir=None if options.dataset_dir is None else options.dataset_dir.resolve(),
        output_dir=options.output_dir.resolve(),
        stage1=bool(METHODS[options.method].stage1) and not options.no_stage1 and "stage1_checkpoint" not in given,
        knobs={
            **defaults,
            **({"stage1_checkpoint": None} if options.no_stage1 else {}),
            **given,
        },
        method=options.method,
        task=options.task,
    )


def default_knobs(method: str = "condseg", task: str = "images") -> dict[str, Any]:
    """What the demo sets unless told otherwise."""
    return {**(SMALL_CT if task == "synapse" else SMALL), **SMALL_OF.get(method, {})}


def parse_knobs(words: Sequence[str]) -> dict[str, Any]:
    """Turn ``--name value`` and ``--name=value`` into a dictionary.

    Args:
        words: of the command line. Values are Python literals (``None``, ``True``, ``1e-3``), all others strings; files
            that exist are named absolutely.

    Raises:
        ValueError: if a name has no value, or a value no name.
    """
    knobs: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise ValueError(f"expected --name value, got {name!r}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} needs a value")
            text = rest.pop(0)
        name = name.removeprefix("--")
        try:
            knobs[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            knobs[name] = str(Path(text).resolve()) if name in _PATHS and Path(text).exists() else text
    return knobs


def refuse_unknown(knobs: Mapping[str, Any], method: str = "condseg", task: str = "images") -> None:
    """Refuse what no config of the method and task has: MONAI would ignore it without a word.

    Raises:
        ValueError: naming what is unknown, and all there are.
    """
    steps = TASKS[task][method]
    known = set().union(*(top_level_values(files) for files in steps)) - _OWN
    stage1 = {_STAGE1_PREFIX + name for name in top_level_values(steps.stage1) - _OWN}
    unknown = [name for name in knobs if name not in known | stage1]
    if unknown:
        from condseg_monai.utils.command_line import (
            unknown_options,
        )  # imported late: it takes seconds, and --help should not

        raise ValueError(
            f"{unknown_options(unknown, known | stage1)}; there are {', '.join(sorted(known))}, "
            f"and most of them with {_STAGE1_PREFIX} in front"
        )


def top_level_values(files: Sequence[str]) -> set[str]:
    """Names of the options of config files."""
    configs = [json.loads((BUNDLE / "configs" / f"{file}.json").read_text(encoding="utf-8")) for file in files]
    return {name for config in configs for name in config.get("options", config.get("+options", {}))} - {"_target_"}


def knobs_for(files: Sequence[str], knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the knobs a step reads; those for stage 1 lose their prefix.

    Args:
        files: the configs of the step.
        knobs: of all steps.
    """
    names = top_level_values(files)
    if "evaluate" in files:  # nothing of training itself
        used = top_level_values((*PREDICT, "dec_seg") if "train_dec_seg" in files else PREDICT)
        names = names & used | top_level_values(["evaluate"]) | {"mask_threshold", "split"}
    chosen = {name: value for name, value in knobs.items() if name in names}
    if "train_stage1" in files:
        for name, value in knobs.items():
            if name.startswith(_STAGE1_PREFIX) and name.removeprefix(_STAGE1_PREFIX) in names:
                chosen[name.removeprefix(_STAGE1_PREFIX)] = value
    return chosen


def command_of(files: Sequence[str], knobs: Mapping[str, Any]) -> str:
    """The command that does the same in the folder ``bundle``."""
    paths = [f"configs/{file}.json" for file in files]
    config = paths[0] if len(paths) == 1 else f'"{paths}"'.replace(", ", ",")
    words = [f"--{name} {_word(value)}" for name, value in knobs.items()]
    return " ".join(["python -m monai.bundle run --config_file", config, *words])


def _word(value: Any) -> str:
    """A knob's value on a command line: ``$None`` says null, and paths in the repository are relative to the bundle."""
    if value is None:
        return shlex.quote("$None")  # MONAI drops a plain None
    if isinstance(value, str) and Path(value).is_relative_to(REPOSITORY):
        return shlex.quote(os.path.relpath(value, BUNDLE))
    return shlex.quote(str(value))


def drop_logging_warning() -> None:
    """Leave out MONAI's warning of every workflow that leaves logging to the program that opens it."""
    logging.getLogger("monai.bundle.workflows").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Logging file is set to False")
