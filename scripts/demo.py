"""Demo: ConDSeg, or another method, from data to segmented images, step by step, in one process.

Each step runs configs of the bundle and prints the command that does the same.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condseg_monai.cli.logs import log_to, shown_log
from condseg_monai.cli.workflows import option_names
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.method_files import CT, METHODS, Files
from experiments.given_options import check_options, parse_options

# A network and a schedule that a CPU completes in minutes; the configs' own defaults are the paper's.
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
# What a method needs otherwise: a quarter of the labels, SGD's rate of DEC-Seg; some have no uncertainty to save.
FEW_LABELS: dict[str, Any] = {"labeled_fraction": 0.25, "batch_size": 8, "epochs": 40}
NO_REGIONS: dict[str, Any] = {"panel_interval": 0, "save_uncertainty": "none"}
SMALL_OF: dict[str, dict[str, Any]] = {
    "dec_seg": {**FEW_LABELS, **NO_REGIONS, "learning_rate": 0.03, "encoder_learning_rate": 0.03},
    "condseg_student": FEW_LABELS,
    "condseg_baseline": NO_REGIONS,
    "flexible_unet": NO_REGIONS,
    "unet": {**NO_REGIONS, "decoder_channels": 16},
    "unet_plus_plus": {**NO_REGIONS, "decoder_channels": 16},
    "attention_unet": {**NO_REGIONS, "decoder_channels": 16},
}
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
OWN = {"bundle_root", "stage", "output_dir", "ckpt_dir", "checkpoint", "split", "overwrite", "progress_bar"}
"""Options that the demo sets itself."""

DESCRIPTION = """\
Train ConDSeg, or another --method, score it, segment images with it and draw the result, through the bundle's configs.
condseg and med_disseg train in two stages; dec_seg and condseg_student (ConDSeg in its place) in one, with
the labels of a quarter of the images; unet, MONAI's, in one. Of these three no mDSC is asked.

Without arguments it makes a small synthetic data set and fails if the validation mDSC stays under 0.80. With
--dataset_dir it takes a folder with images/, masks/, train.txt, val.txt and, if there is one, test.txt.

--task synapse does it on CT: it makes scans of a phantom, trains on their axial slices, segments whole scans and fails
if the mean Dice of the organs stays under 0.80. For your own scans see docs/tutorials/ct.md.

Every option of the bundle's configs is passed to every step that has it; with stage1_ in front, to stage 1 only:

    scripts/demo --dataset_dir DIR --image_size 96 --epochs 10 --stage1_epochs 5
    scripts/demo --dataset_dir DIR --encoder resnet50 --decoder_channels 128 --cdfa released --no_stage1
"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with a message.

    Returns:
        ``task``, ``method``, ``files``, ``dataset_dir`` (None for synthetic data), ``output_dir``, ``stage1`` (whether
        it is trained) and ``options``, those of the bundle.
    """
    choice = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    choice.add_argument("--task", choices=("images", "synapse"), default="images", help="images of one lesion, or CT")
    choice.add_argument("--method", choices=METHODS, default="condseg", help="what to train [condseg]")
    chosen, _ = choice.parse_known_args(words)  # first: --help lists their options
    small = {**(SMALL_CT if chosen.task == "synapse" else SMALL), **SMALL_OF.get(chosen.method, {})}
    parser = argparse.ArgumentParser(
        "scripts/demo",
        usage="%(prog)s [--task TASK] [--method METHOD] [--dataset_dir DIR] [--output_dir DIR] [--no_stage1] "
        "[--OPTION VALUE ...]",
        description=DESCRIPTION,
        epilog="options of this task and method: " + ", ".join(f"{name} {value}" for name, value in small.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[choice],
        allow_abbrev=False,
    )
    parser.add_argument("--dataset_dir", metavar="DIR", type=Path, help="your data instead of synthetic images")
    default = Path(__file__).resolve().parents[1] / "demo_output"
    parser.add_argument(
        "--output_dir", metavar="DIR", type=Path, default=default, help="gets a new folder in every run"
    )
    parser.add_argument("--no_stage1", action="store_true", help="train in one stage, the encoder from encoder_weights")
    options, rest = parser.parse_known_args(words)
    options.files = CT if options.task == "synapse" else METHODS[options.method]
    if options.task == "synapse" and (options.method != "condseg" or options.dataset_dir is not None):
        parser.error("--task synapse takes no --method and no --dataset_dir: see docs/tutorials/ct.md")
    try:
        given = parse_options(rest)
        check_options(given, known_options(options.files))
    except ValueError as error:
        parser.error(str(error))
    if options.no_stage1 and "stage1_checkpoint" in given:
        parser.error("--no_stage1 and --stage1_checkpoint exclude each other")
    for name in given.keys() & {"stage1_checkpoint", "encoder_weights", "stage1_encoder_weights"}:
        if isinstance(given[name], str) and Path(given[name]).exists():
            given[name] = str(Path(given[name]).resolve())
    options.stage1 = bool(options.files.stage1) and not options.no_stage1 and "stage1_checkpoint" not in given
    options.options = {**small, **({"stage1_checkpoint": None} if options.no_stage1 else {}), **given}
    options.output_dir = options.output_dir.resolve()
    options.dataset_dir = options.dataset_dir and options.dataset_dir.resolve()
    return options


def known_options(files: Files) -> set[str]:
    """The options that can be given: those of the configs, and those of stage 1 with its prefix too."""
    own = OWN | {"dataset_dir"}
    evaluate = () if files is CT else files.evaluate
    names = option_names((*files.stage1, *files.train, *evaluate, *files.predict)) - own
    return names | {f"stage1_{name}" for name in option_names(files.stage1) - own}


def main() -> int:
    """Run every step; the status is 1 if synthetic data was not learned or a step failed, 130 if stopped, else 0."""
    options = parse(sys.argv[1:])
    run_dir = make_run_dir(options.output_dir)
    with shown_log():
        log_to(run_dir / "log.txt")
        print(f"ConDSeg demo, writing to {run_dir}\nimporting PyTorch and MONAI ...", flush=True)
        try:
            if options.task == "synapse":
                from demo_synapse import SynapseDemo

                return SynapseDemo(options, run_dir).run()
            from demo_images import ImagesDemo

            return ImagesDemo(options, run_dir).run()
        except KeyboardInterrupt:
            print(
                "\ndemo: stopped; a training continues by its command, shown last, and --resume true", file=sys.stderr
            )
            return 130
        except Exception as error:
            logging.getLogger("demo").exception("the demo failed")
            cause = root_cause(error)
            print(f"demo: {type(cause).__name__}: {cause}\ndemo: more in {run_dir / 'log.txt'}", file=sys.stderr)
            return 1


def make_run_dir(output_dir: Path) -> Path:
    """Make the first of ``run_001``, ``run_002``, ... that does not exist."""
    number = 1
    while (run_dir := output_dir / f"run_{number:03d}").exists():
        number += 1
    run_dir.mkdir(parents=True)
    return run_dir


if __name__ == "__main__":
    sys.exit(main())
