"""Steps that all demos have: open a workflow, train with a line per epoch, say where the results are."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from experiments.bundle_runs import BUNDLE, open_run, option_names, without_card_options

REQUIRED_DICE = 0.80
# What these reach in so few steps, the last two with a quarter of the labels, is not known well enough.
NOT_HELD = ("unet", "dec_seg", "condseg_student")


class Demo:
    """The steps, and what they share.

    Args:
        options: the command line, see ``demo.parse``.
        run_dir: an empty folder for all results.
    """

    def __init__(self, options: Namespace, run_dir: Path) -> None:
        self.arguments = options
        self.files = options.files
        self.run_dir = run_dir
        self.data_dir: Path = options.dataset_dir or run_dir / "dataset"
        self.predictions_dir = run_dir / "predictions"
        self.options = {
            "dataset_dir": str(self.data_dir),
            "ckpt_dir": str(run_dir / "models"),
            "output_dir": str(run_dir),
            **options.options,
        }
        self.steps = 0
        self.start = time.perf_counter()

    def announce(self, title: str) -> None:
        """Number a step and say what it is."""
        self.steps += 1
        print(f"\n{self.steps}. {title}", flush=True)
        if self.steps == 2:
            print(f"  Each command shown does the same as its step; run it with .venv active in {BUNDLE}", flush=True)

    def open(self, files: Sequence[str], **changes: Any) -> ConfigWorkflow:
        """Print the command of a step and return its workflow, initialised."""
        options = options_for(files, {**self.options, **changes})
        print(f"  {command_of(files, options)}", flush=True)
        kind = "infer" if files == self.files.predict else "train"
        workflow = open_run(files, {**options, "progress_bar": False}, kind)
        send_to_log()
        return workflow

    def finish(self, workflow: ConfigWorkflow) -> None:
        """Run a workflow to its end."""
        send_to_log()  # of loggers made since it was opened
        workflow.run()
        workflow.finalize()

    def train(self, first_stage: str) -> None:
        """Train the stages there are, with a line for each epoch."""
        stages = [(f"Stage 1: {first_stage}", self.files.stage1)] if self.arguments.stage1 else []
        title = "Stage 2: train" if self.files.stage1 else "Train"
        for name, files in [*stages, (f"{title} the whole network", self.files.train)]:
            self.announce(name)
            workflow = self.open(files)
            EpochLines(workflow)
            self.finish(workflow)

    def verdict(self, dice: float, what: str) -> int:
        """The exit status: 1, with a message, if synthetic data was not learned."""
        print(f"\ndone in {(time.perf_counter() - self.start) / 60:.1f} minutes", flush=True)
        if self.arguments.dataset_dir is None and self.arguments.method not in NOT_HELD and dice < REQUIRED_DICE:
            print(f"demo: the {what} is {dice:.3f}, under the {REQUIRED_DICE} it should reach", file=sys.stderr)
            return 1
        return 0

    def show_places(self, places: Mapping[str, Path]) -> None:
        """Print where the results are: the given places, and those of every task."""
        common = {"weights, and records of the runs": self.run_dir / "models", "log": self.run_dir / "log.txt"}
        print("\nWhere to look")
        for name, path in {**places, **common}.items():
            print(f"  {name:38s}{path}")
        curves = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", str(self.run_dir / "tensorboard")]
        print(f"Curves, in a browser:\n  {shlex.join(curves)}")


class EpochLines:
    """Prints a line when training begins and after each epoch of a training workflow, with scores if it validated.

    Args:
        workflow: initialised, not yet run.
    """

    def __init__(self, workflow: ConfigWorkflow) -> None:
        trainer: Engine = workflow.parser.get_parsed_content("train#trainer")
        evaluator: Engine = workflow.parser.get_parsed_content("validate#evaluator")
        self.losses: list[float] = []
        self.scores = ""
        self.start = time.perf_counter()
        trainer.add_event_handler(Events.STARTED, self.print_begin)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.keep_loss)
        evaluator.add_event_handler(Events.COMPLETED, self.keep_scores)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.print_line)  # after the config's handlers

    def print_begin(self, trainer: Engine) -> None:
        """Print how long training will be."""
        self.start = time.perf_counter()
        print(f"  training: {trainer.state.max_epochs} epochs of {trainer.state.epoch_length} steps", flush=True)

    def keep_loss(self, trainer: Engine) -> None:
        """Keep the loss of one iteration."""
        output: Any = trainer.state.output
        self.losses.append(output["loss"].item())

    def keep_scores(self, evaluator: Engine) -> None:
        """Keep the scores of one validation."""
        metrics = evaluator.state.metrics
        self.scores = f"   val mIoU {metrics['val_mean_iou']:.3f}   mDSC {metrics['val_mean_dice']:.3f}"

    def print_line(self, trainer: Engine) -> None:
        """Print epoch, its mean loss, seconds, and scores if there was a validation."""
        state, now = trainer.state, time.perf_counter()
        epoch, loss = f"{state.epoch:3d}/{state.max_epochs}", np.mean(self.losses or [np.nan])
        print(f"  epoch {epoch}   loss {loss:7.4f}   {now - self.start:4.0f} s{self.scores}", flush=True)
        self.losses, self.scores, self.start = [], "", now


def options_for(files: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the options that a step reads; those for stage 1 lose their prefix."""
    names = option_names(files)
    if "evaluate" in files:  # what it shares with inference, and its own; nothing of training itself
        names &= option_names(("inference",)) | option_names(("evaluate",)) | {"mask_threshold", "split"}
    chosen = {name: value for name, value in without_card_options(files, options).items() if name in names}
    if "train_stage1" in files:
        stage1 = {name.removeprefix("stage1_"): options[name] for name in options if name.startswith("stage1_")}
        chosen |= {name: value for name, value in stage1.items() if name in names}
    return chosen


def command_of(files: Sequence[str], options: Mapping[str, Any]) -> str:
    """The command that does the same in the folder ``bundle``."""
    paths = [f"configs/{file}.json" for file in files]
    config = paths[0] if len(paths) == 1 else f'"{paths}"'.replace(", ", ",")
    words = [f"--{name} {_word(value)}" for name, value in options.items()]
    return " ".join(["python -m monai.bundle run --config_file", config, *words])


def _word(value: Any) -> str:
    """A value on a command line; paths in the repository are relative to the bundle."""
    if isinstance(value, str) and Path(value).is_relative_to(BUNDLE.parent):
        value = os.path.relpath(value, BUNDLE)
    return "null" if value is None else shlex.quote(str(value))


def send_to_log() -> None:
    """Send to the log file what MONAI's and ignite's loggers, each with a handler of its own, print by default."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
