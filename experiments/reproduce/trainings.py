"""The trainings behind the rows of a table: each is done once, whichever rows and tables want it, and continues."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from condseg_monai.cli.workflows import option_names, read_configs, run, without_card_options
from condseg_monai.inference.packed_bundle import load_model
from condseg_monai.networks.encoders.weights import IMAGENET_PACKAGES
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.utils.files import atomic_write, read_json_object
from condseg_monai.utils.method_files import CT, METHODS, Files

__all__ = ["BUDGETS", "FILES", "OWN_OPTIONS", "SCORING", "Plan", "Row", "Training", "write"]

BUDGETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "image_size": 32,
        "encoder": "resnet18",
        "encoder_weights": None,
        "decoder_channels": 4,
        "batch_size": 2,
        "labeled_batch_size": 1,
        "unlabeled_batch_size": 1,
        "epochs": 1,
        "stage1_epochs": 1,
    },
    "small": {
        "image_size": 96,
        "encoder": "efficientnet_lite0",
        "encoder_weights": "imagenet",
        "decoder_channels": 16,
        "batch_size": 8,
        "epochs": 15,
        "stage1_epochs": 5,
        "dec_seg_epochs": 45,
        "val_interval": 5,
        "optimizer_name": "adamw",
        "learning_rate": 2e-3,
        "encoder_learning_rate": 5e-4,
        "weight_decay": 0.01,
        "lr_schedule": "cosine",
        "gradient_clip": 5.0,
        "ema_decay": 0.99,
    },
    "paper": {},
}
"""Options by budget: the configs' defaults, which are ConDSeg's, and two that a CPU trains in minutes and seconds."""

_PAPER_OPTIONS: dict[str, dict[str, Any]] = {
    "unet": {"decoder_channels": 64},
    "med_disseg": {
        "stage1_epochs": 600,
        "stage1_early_stop_patience": 200,
        "batch_size": 8,
        "encoder_learning_rate": 1e-4,
    },
    "dec_seg": {"early_stop_patience": 200},  # as many as its epochs: none
}
"""What the budget of the paper has by method, where what is published of it is not what the configs do."""

FILES = {
    **METHODS,
    "net0": Files(("train_stage1",)),
    "net0_without_cr": Files(("train_stage1", "without_cr")),
    "condseg_one_stage": Files(METHODS["condseg"].train),
    "ct": CT,
}
"""What a row trains, by name."""

SCORING = ("saliency_scores", "stretch", "threshold")
"""Options of the scoring alone: the scores of others are other files."""

_RUN = {"panel_interval": 0, "progress_bar": False, "num_workers": 0}
_WITHOUT_EFFECT = {"cache", "check_data", "device", "num_workers", "panel_interval", "progress_bar", "save_interval"}
"""Options that a folder's training may have had otherwise: they do not make it another one."""
OWN_OPTIONS = {
    *("bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "seed", "resume", "overwrite", "init_from"),
    *("stage1_checkpoint", "checkpoint"),
}
"""Options of trainings that this program sets."""

# Of options that a training alone gets.
_PREFIXES = {"train_stage1": "stage1_", "train_stage2": "stage2_", "train_dec_seg": "dec_seg_"}
_LONGEST_NAME = 240  # bytes; a folder's name has 255
_log = logging.getLogger("reproduce")


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        title: as the table shows it.
        method: a key of :data:`FILES`.
        options: of all its trainings; with ``stage1_`` or ``stage2_`` before the name, of that stage alone.
        epochs_factor: of the budget's epochs: with more labels an epoch has more steps, of which rows have as many.
        starts_from: the row whose weights its first training starts from.
        paper_iou: the paper's mIoU, in per cent, by the name of the data set.
    """

    title: str
    method: str = "condseg"
    options: Mapping[str, Any] = {}
    epochs_factor: float = 1
    starts_from: Row | None = None
    paper_iou: Mapping[str, float] = {}


class Training(NamedTuple):
    """One stage: config files, their options, and a name that says what is not as the budget has it."""

    name: str
    files: tuple[str, ...]
    options: Mapping[str, Any]


class Plan(NamedTuple):
    """What all rows have in common: the data, the folder, the budget and the options given for it, the list to score.

    Attributes:
        last: whether the last epoch's weights are scored, none selected, and not those of the best validation.
        score_dir: another data set to score, with the weights trained on ``dataset_dir``.
    """

    dataset_dir: Path
    output_dir: Path
    budget: str = "paper"
    given: Mapping[str, Any] = {}
    split: str = "test"
    last: bool = False
    score_dir: Path | None = None

    @property
    def scored_dir(self) -> Path:
        """The data set that is scored."""
        return self.score_dir or self.dataset_dir

    @property
    def data_set(self) -> str:
        """The published data set that ``condseg prepare`` made the folder of; empty if it did not, or of other data."""
        record = self.dataset_dir / "dataset.json"
        own = record.is_file() and self.scored_dir == self.dataset_dir
        return str(read_json_object(record).get("dataset", "")) if own else ""

    def trainings(self, row: Row) -> list[Training]:
        """The trainings of a row, in order; each starts from the one before."""
        files = FILES[row.method]
        done = [] if row.starts_from is None else self.trainings(row.starts_from)
        for stage in filter(None, (files.stage1, files.train)):
            options, defaults = self._options(stage, row), _defaults(stage)
            plain = self._options(stage, Row("", row.method))
            own = [f"{name}={value}" for name, value in options.items() if value != {**defaults, **plain}.get(name)]
            options = {name: value for name, value in options.items() if value != defaults.get(name)}
            label = "-".join([".".join(stage).replace("train_", ""), *own])
            done.append(Training("+".join([*(training.name for training in done), label]), stage, options))
        return done

    def _options(self, stage: tuple[str, ...], row: Row) -> dict[str, Any]:
        """Those that the files of a stage have."""
        asked = {**row.options, **self.given}
        budget = self.budget_options(row)
        options = {**_RUN, **budget, **_for_stage(stage, budget), **asked, **_for_stage(stage, asked)}
        if self.starts_at_random(row):
            options["encoder_weights"] = None
        if row.epochs_factor != 1:
            options["epochs"] = max(1, round(row.epochs_factor * options.get("epochs", _defaults(stage)["epochs"])))
        names = {
            *option_names(stage),
            *(name for name in options if name.split("#")[0] in _defaults(stage) and "#" in name),
        }
        return {name: value for name, value in sorted(options.items()) if name in names}

    def budget_options(self, row: Row) -> dict[str, Any]:
        """What the budget says of a row's method."""
        return {**BUDGETS[self.budget], **(_PAPER_OPTIONS.get(row.method, {}) if self.budget == "paper" else {})}

    def starts_at_random(self, row: Row) -> bool:
        """Whether the budget's ImageNet weights are not those of a row's encoder, which no package of pip's has."""
        asked = {**row.options, **self.given}
        return (
            self.budget == "small"
            and "encoder_weights" not in asked
            and asked.get("encoder", BUDGETS["small"]["encoder"]) not in IMAGENET_PACKAGES
        )

    def folder(self, training: Training, seed: int) -> Path:
        """Where a training is."""
        name = training.name
        if len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return self.output_dir / "trainings" / name / f"seed{seed}"

    def weights(self, row: Row, seed: int) -> Path:
        """The weights of a row that is trained."""
        training = self.trainings(row)[-1]
        return self.folder(training, seed) / "models" / self._weights_file(training)

    def scores(self, row: Row, seed: int) -> Path:
        """The table of a row's scores, image by image."""
        folder = self.folder(self.trainings(row)[-1], seed)
        name = "scores_last" if self.last else "scores"
        name += "".join(f"_{option}={self.given[option]}" for option in SCORING if option in self.given)
        if self.score_dir is not None:
            digest = hashlib.sha256(str(self.score_dir).encode()).hexdigest()[:8]  # many are called "dataset"
            name += f"_{self.score_dir.name}_{digest}"
        return folder / name / f"scores_{self.split}.csv"

    def read_scores(self, row: Row, seeds: Sequence[int]) -> dict[int, ScoreTable]:
        """The scores of a row by seed, as far as there are any, images in the order of their names."""
        paths = {seed: self.scores(row, seed) for seed in seeds}
        tables = {seed: ScoreTable.read(path) for seed, path in paths.items() if path.is_file()}
        return {seed: table.select(np.argsort(table.files)) for seed, table in tables.items()}

    def summary(self, row: Row, seed: int) -> dict[str, Any] | None:
        """What the scores of a row were summarized in; None of scores without a summary."""
        file = self.scores(row, seed).with_name(f"summary_{self.split}.json")
        return read_json_object(file) if file.is_file() else None

    def train(self, row: Row, seed: int) -> None:
        """Train what is missing of a row; a training that was cut short continues after its last complete epoch.

        Raises:
            RuntimeError: if another process is training one of them.
            ValueError: if a folder is of a training with other data or options, or that started from other weights.
        """
        start = None
        for training in self.trainings(row):
            folder = self.folder(training, seed)
            self._check_settings(training, folder)
            _check_start(folder, start)
            if not (folder / "trained.json").is_file():
                _log.info(f"training {training.name}, seed {seed}")
                starts = {"stage1_checkpoint": None, "init_from": None}
                starts["init_from" if training.files[0] == "train_dec_seg" else "stage1_checkpoint"] = start
                resume = any(_states(folder))  # without one, what is there is of a first epoch that was cut short
                again = {"resume": resume, "overwrite": not resume}
                before = time.process_time()
                run(training.files, {**self._places(folder, training, seed), **starts, **again})
                # what an earlier process did before it was cut short is not known
                processor = None if resume else time.process_time() - before
                times = {"seconds": _seconds(folder), "processor_seconds": processor}
                write(folder / "trained.json", json.dumps(times))
                for state in _states(folder):  # several times the weights
                    state.unlink()
            start = str(folder / "models" / self._weights_file(training))

    def check_list(self, row: Row, seed: int) -> None:
        """Raise FileNotFoundError if a row is not scored and there is no list to score."""
        images = self.scored_dir / f"{self.split}.txt"
        if not self.scores(row, seed).is_file() and not images.is_file():
            raise FileNotFoundError(f"there is no {images} to score: give another --split or --score_dir")

    def train_and_score(self, row: Row, seed: int) -> None:
        """Train and score what is missing of a row.

        Raises:
            FileNotFoundError: if there is no list to score, before any training.
        """
        scores = self.scores(row, seed)
        self.check_list(row, seed)
        self.train(row, seed)
        if scores.is_file():
            return
        training = self.trainings(row)[-1]
        places = self._places(self.folder(training, seed), training, seed)
        files = (*training.files, "evaluate")
        scored = {"output_dir": str(scores.parent), "checkpoint": str(self.weights(row, seed)), "split": self.split}
        scored["dataset_dir"] = str(self.scored_dir)
        scored |= {option: self.given[option] for option in SCORING if option in self.given}
        run(files, without_card_options(files, {**places, **scored, "overwrite": True}))

    def times(self, row: Row, seed: int) -> tuple[float, float]:
        """How long the trainings of a row took, in seconds by the clock and of the processor (NaN where not known)."""
        files = [self.folder(training, seed) / "trained.json" for training in self.trainings(row)]
        known = [read_json_object(file) for file in files]
        processor = [times.get("processor_seconds") for times in known]
        return sum(times["seconds"] for times in known), sum(math.nan if t is None else t for t in processor)

    def _weights_file(self, training: Training) -> str:
        stem = "stage1" if training.files[0] == "train_stage1" else "model"
        return f"{stem}_final.pt" if self.last else f"{stem}.pt"

    def cost(self, row: Row, seed: int) -> tuple[float, float]:
        """Billions of multiply-adds of the network for one image of the training's size, and millions of parameters."""
        _, card, network = load_model(self.weights(row, seed))
        image = torch.zeros(1, card.network["in_channels"], card.image_size, card.image_size)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image)
        return counter.get_total_flops() / 2e9, sum(parameter.numel() for parameter in network.parameters()) / 1e6

    def _places(self, folder: Path, training: Training, seed: int) -> dict[str, Any]:
        places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder)}
        return {**training.options, **places, "dataset_dir": str(self.dataset_dir), "seed": seed}

    def _check_settings(self, training: Training, folder: Path) -> None:
        file = folder / "settings.json"
        text = json.dumps({"dataset_dir": str(self.dataset_dir), **training._asdict()}, indent=2)
        if not file.is_file():
            write(file, text)
        elif _comparable(read_json_object(file)) != _comparable(json.loads(text)):
            raise ValueError(f"{folder} was trained with other data or options, see {file}: give another --output_dir")
        _check_defaults(training, folder)


def _for_stage(stage: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a stage alone, without their prefix."""
    prefix = _PREFIXES.get(stage[0])
    return {name[len(prefix) :]: value for name, value in options.items() if prefix and name.startswith(prefix)}


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a training another one."""
    options = {name: value for name, value in settings.get("options", {}).items() if name not in _WITHOUT_EFFECT}
    return {**settings, "options": options}


def _check_defaults(training: Training, folder: Path) -> None:
    """Refuse a training by configs with other defaults: the settings have what differs from them, its record all."""
    options = {**_defaults(training.files), **training.options}
    names = option_names(training.files) - _WITHOUT_EFFECT - OWN_OPTIONS
    for record in (folder / "models").glob("run_*.json"):
        was = read_json_object(record).get("options", {})
        for name in sorted(names & was.keys()):
            now = options.get(name)
            if not str(now).startswith(("$", "@")) and now != was[name]:  # expressions are not evaluated here
                raise ValueError(
                    f"{folder} was trained with {name} {was[name]}, and now it is {now}, see {record}: give another "
                    "--output_dir"
                )


def _check_start(folder: Path, start: str | None) -> None:
    """Refuse a training that started from the best weights where the last ones are wanted, or the other way round."""
    for record in (folder / "models").glob("run_*.json"):
        was = read_json_object(record).get("starts_from")
        if was is not None and start is not None and Path(was["checkpoint"]).name != Path(start).name:
            raise ValueError(
                f"{folder} started from {Path(was['checkpoint']).name}, not from {Path(start).name}: give --last, or "
                "leave it out, as at its training, or give another --output_dir"
            )


def _states(folder: Path) -> list[Path]:
    """What a training that was cut short resumes from."""
    return [*(folder / "models").glob("resume_*.state")]


def _defaults(files: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for config in read_configs(files) for name, value in config.items()}


def _seconds(folder: Path) -> float:
    """What the record of a training says of its time."""
    (record,) = (folder / "models").glob("run_*.json")
    return float(json.loads(record.read_text(encoding="utf-8"))["result"]["seconds"])


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
