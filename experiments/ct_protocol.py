"""Protocol on one real CT with the eight organs of Synapse: train on every second slice, score the others.

Train from scratch on the axial slices of even number: 20 epochs of stage 1 and 60 of stage 2 at 80x80, ResNet-18, 24
decoder channels. Then segment the volume, and copies of it in other orientations, and score the slices of odd
number, none of which was trained on: neighbours of those that were, so the figure says that learning works on real CT,
not how good it would be on another patient. The best of six epochs is chosen on the same slices.

    .venv/bin/python -m experiments.ct_protocol --ct CT.nii.gz --label LABEL.nii.gz --output_dir runs/ct

A run that was cut short continues: what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from condseg_monai.cli.workflows import run

NETWORK: dict[str, Any] = {"encoder": "resnet18", "decoder_channels": 24, "image_size": 80}
TRAINING: dict[str, Any] = {
    "encoder_weights": None,
    "batch_size": 4,
    "optimizer_name": "adam",
    "num_workers": 0,
    "val_interval": 10,
    "panel_interval": 0,
    "save_interval": 20,
    "resume": True,
    "class_balance": 0.5,
    "mirror_share": 0,  # it is one patient, lying one way
}
STAGE1: dict[str, Any] = {"epochs": 20, "learning_rate": 2e-3, "encoder_learning_rate": 2e-3}
STAGE2: dict[str, Any] = {"epochs": 60, "lr_schedule": "cosine", "learning_rate": 3e-3, "encoder_learning_rate": 7.5e-4}
COPIES = ("RAS", "LAS", "RPS", "RAI", "LPS", "SAR", "ILP", "ASL")
"""Orientations of the copies; the first three flip one axis each."""


def main() -> None:
    """Run what is not there yet and print Dice of each organ and copy as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, required=True, help="NIfTI, Hounsfield units")
    parser.add_argument("--label", type=Path, required=True, help="NIfTI, eight organs")
    parser.add_argument("--output_dir", type=Path, required=True, help="gets slices, weights, volumes and scores")
    parser.add_argument("--source_labels", default="transunet", help="which organ each number is [transunet]")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    root: Path = options.output_dir.resolve()
    prepare(options.ct.resolve(), options.label.resolve(), options.source_labels, root)
    train(root)
    write_copies(root / "scan" / "ct.nii.gz", root / "copies")
    run(("inference_synapse",), {**folders(root), "dataset_dir": str(root / "copies")}, "infer")
    print(json.dumps(score(root), indent=2))


def prepare(ct: Path, label: Path, source_labels: str, root: Path) -> None:
    """Make the slices: even ones for training, odd ones for validation."""
    from condseg_monai.data.prepare.synapse import prepare_synapse

    if (root / "slices" / "dataset.json").is_file():
        return
    (root / "scan").mkdir(parents=True, exist_ok=True)
    for file, name in ((ct, "ct.nii.gz"), (label, "label.nii.gz")):
        nibabel.save(nibabel.load(file), root / "scan" / name)
    prepare_synapse(root / "scan", root / "slices", source_labels=source_labels, hold_out={"val": "odd"})


def train(root: Path) -> None:
    """Train both stages; a stage that has ended stays as it is."""
    common = {**TRAINING, **folders(root), "dataset_dir": str(root / "slices")}
    run(("train_stage1", "synapse"), {**common, **NETWORK, **STAGE1})
    run(("train_stage2", "synapse"), {**common, **NETWORK, **STAGE2})


def folders(root: Path) -> dict[str, Any]:
    """Where the bundle's configs read and write."""
    return {
        "ckpt_dir": str(root / "models"),
        "output_dir": str(root / "eval"),
        "progress_bar": False,
    }


def write_copies(ct: Path, folder: Path) -> None:
    """Write the volume once per orientation: the same voxels at the same places, in another order."""
    folder.mkdir(exist_ok=True)
    image = nibabel.load(ct)
    for codes in COPIES:
        transform = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        nibabel.save(image.as_reoriented(transform), folder / f"{codes}.nii.gz")


def score(root: Path) -> dict[str, Any]:
    """Dice in the slices that were not trained on, of each organ and each copy."""
    from condseg_monai import axial_slices, synapse_class_names
    from condseg_monai.data.ct.nifti import read_nifti

    names = json.loads((root / "slices" / "dataset.json").read_text())["class_names"]
    assert tuple(names) == synapse_class_names()
    label = read_nifti(root / "scan" / "label.nii.gz")
    expected = axial_slices(label.array, label.affine)[1::2]
    scores = {}
    for codes in COPIES:
        volume = read_nifti(root / "eval" / f"{codes}.nii.gz")
        found = axial_slices(volume.array, volume.affine)[1::2]
        dice = {
            name: 2 * float(np.sum((found == k) & (expected == k))) / float(np.sum(found == k) + np.sum(expected == k))
            for k, name in enumerate(names)
            if k
        }
        scores[codes] = {"mean": float(np.mean(list(dice.values()))), **dice}
    return scores


if __name__ == "__main__":
    main()
