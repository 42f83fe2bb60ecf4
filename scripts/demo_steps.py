"""Steps that all demos have: open a workflow, train with a line per epoch, say where the results are."""

from __future__ import annotations

import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from condseg_monai.cli import workflows
from condseg_monai.cli.logs import send_to_log
from condseg_monai.cli.workflows import command_of, open_run, option_names, without_card_options

REQUIRED_DICE = 0.80
# What these reach in so few steps, the last two with a quarter of the labels, is not known well enough.
_UNETS = ("unet", "flexible_unet", "unet_plus_plus", "attention_unet")
NOT_HELD = ("condseg_baseline", *_UNETS, "dec_seg", "condseg_student")


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
            print("  Each command shown does the same as its step; run it with .venv active", flush=True)

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


def options_for(files: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the options that a step reads; those for stage 1 lose their prefix."""
    chosen = workflows.options_for(files, without_card_options(files, options))
    if "evaluate" in files:  # what it shares with inference, and its own; nothing of training itself
        names = option_names(("inference",)) | option_names(("evaluate",)) | {"mask_threshold", "split"}
        chosen = {name: value for name, value in chosen.items() if name in names}
    return chosen
