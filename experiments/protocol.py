r"""Protocol of fixed size on real polyp images, to compare changes by the same figures.

Train from scratch on the training images of Kvasir-Sessile at 96x96 (flips and rotation, batch 8): 5 epochs of stage 1
and 10 of stage 2. Score the last epoch's weights, none selected, on the images of Kvasir-SEG's ``val.txt`` that are not
among those trained on. Everything runs through the bundle's configs; what follows ``--`` is passed to them.

    .venv/bin/python -m experiments.protocol --sessile_dir DIR --kvasir_dir DIR --output_dir runs/protocol
    .venv/bin/python -m experiments.protocol --sessile_dir DIR --kvasir_dir DIR --output_dir runs/one_stage --no_stage1
    .venv/bin/python -m experiments.protocol --sessile_dir DIR --kvasir_dir DIR --output_dir runs/x -- --cdfa released

Another network on the same images, augmentation, budget and scores, by an overlay of the bundle:

    .venv/bin/python -m experiments.protocol --sessile_dir DIR --kvasir_dir DIR --output_dir runs/unet --no_stage1 \
        --epochs 15 --overlay unet.json \
        -- --decoder_channels 32 --learning_rate 1e-3 --network_def#num_res_units 0 --network_def#norm instance
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from condseg_monai.cli.workflows import run, without_card_options
from experiments.given_options import parse_options
from experiments.polyp_lists import link_lists, read_list

OPTIONS: dict[str, Any] = {
    "image_size": 96,
    "batch_size": 8,
    "decoder_channels": 64,
    "learning_rate": 3e-3,
    "encoder_learning_rate": 3e-3,
    "lr_schedule": "cosine",
    # Lesions are a twelfth of the pixels trained on, and what is learnt in so few steps is doubtful: a cross-entropy
    # that counts all pixels alike draws the doubtful as background.
    "class_balance": 0.5,
    "encoder_weights": None,
    "num_workers": 0,
    "progress_bar": False,
    # At this size a rotation by any other angle than a quarter turn costs more of the image than it adds.
    "transforms#augment#3#prob": 0.0,
}
# After stage 1 the encoder learns more slowly than the decoders, as in the paper: the gradients that come through
# random decoders would undo it. The paper's tenth is too slow for ten epochs.
AFTER_STAGE1 = {"encoder_learning_rate": 5e-4}


def main() -> None:
    """Run the protocol and print its figures as JSON."""
    options, given = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    output_dir: Path = options.output_dir.resolve()
    if output_dir.exists():
        sys.exit(f"--output_dir {output_dir} exists: give another")
    sessile, kvasir = options.sessile_dir.resolve(), options.kvasir_dir.resolve()
    train = read_list(sessile / "train.txt")
    others = [stem for stem in read_list(kvasir / "val.txt") if stem not in train]
    link_lists({"train": (sessile, train), "val": (kvasir, others)}, output_dir / "dataset")
    models = output_dir / "models"
    own = given
    given = {
        **OPTIONS,
        "seed": options.seed,
        "dataset_dir": str(output_dir / "dataset"),
        "ckpt_dir": str(models),
        "output_dir": str(output_dir / "eval"),
        "stage1_checkpoint": None if options.no_stage1 else str(models / "stage1_final.pt"),
        **own,
    }

    started = time.perf_counter()
    if not options.no_stage1:
        run(("train_stage1",), {**given, **score_at_the_end(options.stage1_epochs)})
    stage2 = given if options.no_stage1 else {**given, **AFTER_STAGE1, **own}
    configs = ("train_stage2", *(name.removesuffix(".json") for name in options.overlay))
    run(configs, {**stage2, **score_at_the_end(options.epochs)})
    seconds = round(time.perf_counter() - started)
    evaluate = (*configs, "evaluate")
    scored = {**given, "checkpoint": str(models / "model_final.pt")}
    run(evaluate, without_card_options(evaluate, scored))

    summary = json.loads((output_dir / "eval" / "summary_val.json").read_text())
    epochs = {"stage1": 0 if options.no_stage1 else options.stage1_epochs, "stage2": options.epochs}
    print(json.dumps({"epochs": epochs, "seed": options.seed, "training_seconds": seconds, **summary}, indent=2))


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The protocol's own options, and those of the bundle after ``--``."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessile_dir", type=Path, required=True, help="Kvasir-Sessile: images/, masks/, train.txt")
    parser.add_argument("--kvasir_dir", type=Path, required=True, help="Kvasir-SEG: images/, masks/, val.txt")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder for weights, records and scores")
    parser.add_argument("--stage1_epochs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_stage1", action="store_true", help="train stage 2 from random weights")
    parser.add_argument("--overlay", nargs="*", default=[], help="configs of the bundle read after train_stage2.json")
    options = parser.parse_args(arguments[:at])
    try:
        return options, parse_options(arguments[at + 1 :])
    except ValueError as error:
        parser.error(f"after --: {error}")


def score_at_the_end(epochs: int) -> dict[str, Any]:
    """Options that train for a fixed number of epochs and score the images once, after the last."""
    return {"epochs": epochs, "val_interval": epochs, "panel_interval": 0}


if __name__ == "__main__":
    main()
