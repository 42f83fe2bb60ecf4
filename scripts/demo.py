"""The demo: ConDSeg, or another method, from data to segmented images, one step after the other, in one process.

Each step runs configs of the bundle and prints the command that does the same; ``demo_arguments.py`` has the options.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_arguments import (
    BUNDLE,
    TASKS,
    Arguments,
    command_of,
    drop_logging_warning,
    knobs_for,
    parse_arguments,
)

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

REQUIRED_DICE = 0.80
# What these reach in so few steps, the last two with a quarter of the labels, is not known well enough.
NOT_HELD = ("unet", "dec_seg", "condseg_student")
_log = logging.getLogger("demo")


def main() -> int:
    """Run every step; the status is 1 if synthetic data was not learned or a step failed, 130 if stopped, else 0."""
    arguments = parse_arguments(sys.argv[1:])
    run_dir = make_run_dir(arguments.output_dir)
    log_to(run_dir / "log.txt")
    print(f"ConDSeg demo, writing to {run_dir}\nimporting PyTorch and MONAI ...", flush=True)
    try:
        if arguments.task == "synapse":
            from demo_synapse import SynapseDemo

            return SynapseDemo(arguments, run_dir).run()
        return Demo(arguments, run_dir).run()
    except KeyboardInterrupt:
        print(
            "\ndemo: stopped; the last command shown goes on with --resume true if it was a training", file=sys.stderr
        )
        return 130
    except Exception as error:
        _log.exception("the demo failed")
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            error = error.__cause__  # MONAI wraps what a config's component raises
        print(f"demo: {type(error).__name__}: {error}\ndemo: more in {run_dir / 'log.txt'}", file=sys.stderr)
        return 1


def make_run_dir(output_dir: Path) -> Path:
    """Make the first of ``run_001``, ``run_002``, ... that is not there yet."""
    number = 1
    while True:
        run_dir = output_dir / f"run_{number:03d}"
        try:
            run_dir.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return run_dir


def log_to(path: Path) -> None:
    """Send log and warnings to a file; the screen gets the warnings of this package only."""
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    screen = logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    screen.addFilter(logging.Filter("condseg_monai"))
    logging.getLogger().addHandler(screen)


def redirect_monai() -> None:
    """Send to the log file what MONAI's loggers, each with a handler of its own, print by default."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    drop_logging_warning()


class Demo:
    """The steps in their order, and what they share.

    Args:
        arguments: the command line.
        run_dir: an empty folder for all results.
    """

    def __init__(self, arguments: Arguments, run_dir: Path) -> None:
        self.arguments = arguments
        self.run_dir = run_dir
        self.files = TASKS[arguments.task][arguments.method]
        self.data_dir = arguments.dataset_dir or run_dir / "dataset"
        self.scores_dir = run_dir / "scores"
        self.predictions_dir = run_dir / "predictions"
        self.mask_threshold = arguments.knobs.get("mask_threshold", 127)
        self.knobs = {
            "dataset_dir": str(self.data_dir),
            "ckpt_dir": str(run_dir / "models"),
            "output_dir": str(run_dir),
            **arguments.knobs,
        }
        self.steps = 0

    def run(self) -> int:
        """Do everything; the status is 1 if the synthetic data was not learned."""
        from demo_report import show

        start = time.perf_counter()
        splits = self.prepare_data()
        if self.arguments.stage1:
            self.train("Stage 1: train the encoder on each image and a strongly recoloured copy", self.files.stage1)
        stage = "Stage 2: train" if self.files.stage1 else "Train"
        self.train(f"{stage} the whole network", self.files.stage2)
        scored = [split for split in ("val", "test") if split in splits]
        self.evaluate(scored)
        self.predict(scored[-1], splits[scored[-1]])
        self.show_places(scored[-1])
        show(f"\ndone in {(time.perf_counter() - start) / 60:.1f} minutes")
        summary = json.loads((self.scores_dir / "summary_val.json").read_text(encoding="utf-8"))
        return self.verdict(summary["scores"]["val_mean_dice"]["mean"], "validation mDSC")

    def verdict(self, dice: float, what: str) -> int:
        """The exit status: 1, with a message, if synthetic data was not learned."""
        from demo_report import show

        if self.arguments.dataset_dir is None and self.arguments.method not in NOT_HELD and dice < REQUIRED_DICE:
            show(f"demo: the {what} is {dice:.3f}, under the {REQUIRED_DICE} it should reach", file=sys.stderr)
            return 1
        return 0

    def prepare_data(self) -> dict[str, list[dict[str, str]]]:
        """Make the synthetic data set, if that is wanted, check the data, and return the cases of each split."""
        from condseg_monai import check_datalist, make_synthetic_dataset

        if self.arguments.dataset_dir is None:
            make_synthetic_dataset(self.data_dir, image_size=self.knobs["image_size"])
        lists = ["train", "val", *(["test"] if (self.data_dir / "test.txt").is_file() else [])]
        splits = check_datalist(self.data_dir, lists, self.mask_threshold)
        self.announce("Data")
        print(f"  {', '.join(f'{len(cases)} {name}' for name, cases in splits.items())} images in {self.data_dir}")
        return splits

    def train(self, title: str, files: Sequence[str]) -> None:
        """Train one stage, with a line for each epoch."""
        from demo_report import EpochLines

        self.announce(title)
        workflow = self.open(files)
        EpochLines(workflow)
        self.finish(workflow)

    def evaluate(self, splits: Sequence[str]) -> None:
        """Score the best weights on each split, beside a mask that covers everything."""
        from demo_report import dice_of_everything, show_scores

        self.announce("Evaluation")
        baselines = {}
        for split in splits:
            workflow = self.open(self.files.evaluate, split=split, output_dir=str(self.scores_dir))
            self.finish(workflow)
            baselines[split] = dice_of_everything(workflow)
        show_scores({split: self.scores_dir / f"summary_{split}.json" for split in splits}, baselines)

    def predict(self, split: str, cases: Sequence[dict[str, str]]) -> None:
        """Segment the images of a split at their own size and draw a sheet of them."""
        from demo_report import draw_sheet

        self.announce("Prediction")
        source = self.data_dir / f"{split}.txt"
        workflow = self.open(self.files.predict, dataset_dir=str(source), output_dir=str(self.predictions_dir))
        self.finish(workflow)
        table = self.scores_dir / f"scores_{split}.csv"
        sheet = draw_sheet(workflow, cases, table, self.predictions_dir, self.mask_threshold)
        sheet.save(self.run_dir / "contact_sheet.png")

    def open(self, files: Sequence[str], **changes: Any) -> ConfigWorkflow:
        """Print the command of a step and return its workflow, initialised."""
        from monai.bundle import ConfigWorkflow

        redirect_monai()
        knobs = knobs_for(files, {**self.knobs, **changes})
        print(f"  {command_of(files, knobs)}", flush=True)
        workflow = ConfigWorkflow(
            [str(BUNDLE / "configs" / f"{file}.json") for file in files],
            logging_file=False,
            workflow_type="infer" if files == self.files.predict else "train",
            bundle_root=str(BUNDLE),
            progress_bar=False,
            **knobs,
        )
        workflow.initialize()
        return workflow

    def finish(self, workflow: ConfigWorkflow) -> None:
        """Run a workflow to its end."""
        redirect_monai()
        workflow.run()
        workflow.finalize()

    def announce(self, title: str) -> None:
        """Number a step and say what it is."""
        self.steps += 1
        print(f"\n{self.steps}. {title}", flush=True)
        if self.steps == 2:
            print(f"  Each command shown does the same as its step; run it with .venv active in {BUNDLE}", flush=True)

    def show_places(self, split: str) -> None:
        """Print where everything is."""
        places = {
            f"{split} cases from worst to best": self.run_dir / "contact_sheet.png",
            "masks, probability, uncertainty": self.predictions_dir,
            "contours on the images": self.predictions_dir / "overlay",
            "scores of every image, summaries": self.scores_dir,
            "report, to open in a browser": self.scores_dir / f"report_{split}.html",
        }
        self.print_places(places)

    def print_places(self, places: Mapping[str, Path]) -> None:
        """Print what is where: the given places, and those of every task."""
        curves = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", str(self.run_dir / "tensorboard")]
        places = {
            **places,
            "weights, and records of the runs": self.run_dir / "models",
            "log": self.run_dir / "log.txt",
        }
        print("\nWhere to look")
        for name, path in places.items():
            print(f"  {name:38s}{path}")
        print(f"Curves, in a browser:\n  {shlex.join(curves)}")


if __name__ == "__main__":
    sys.exit(main())
