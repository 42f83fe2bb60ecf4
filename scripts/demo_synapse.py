"""``scripts/demo --task synapse``: from CT volumes to label volumes, on a phantom."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel
import numpy as np
from demo import Demo

TRAINING_SCANS, TEST_SCANS = 5, 2
SHAPE = (24, 64, 80)
CELL_SIZE = 230  # pixels of a picture's longer side


class SynapseDemo(Demo):
    """The steps on CT: phantoms, their slices, both stages, whole volumes, Dice of each organ.

    Args:
        arguments: the command line.
        run_dir: an empty folder for all results.
    """

    def run(self) -> int:
        """Do everything; the status is 1 if the organs were not learned."""
        from demo_report import show

        start = time.perf_counter()
        scans = self.make_scans()
        if self.arguments.stage1:
            self.train("Stage 1: train the encoder on each slice and a strongly changed copy", self.files.stage1)
        self.train("Stage 2: train the whole network", self.files.stage2)
        self.announce("Prediction: volume in, volume out")
        self.finish(self.open(self.files.predict, dataset_dir=str(scans / "img"), output_dir=str(self.predictions_dir)))
        dice = self.score(scans / "label")
        self.draw(scans)
        self.show_results()
        show(f"\ndone in {(time.perf_counter() - start) / 60:.1f} minutes")
        return self.verdict(dice, "mean Dice of the organs in the test volumes")

    def make_scans(self) -> Path:
        """Make the phantoms, and of most of them the slices to train on; return the folder of the others."""
        from condseg_monai import make_synthetic_ct, prepare_synapse

        self.announce("Data")
        train = make_synthetic_ct(self.run_dir / "scans" / "train", TRAINING_SCANS, SHAPE)
        test = make_synthetic_ct(self.run_dir / "scans" / "test", TEST_SCANS, SHAPE, seed=1000)
        record = prepare_synapse(train, self.data_dir, source_labels="transunet", hold_out={"val": 1})
        counts = " and ".join(f"{facts['cases']} {split}" for split, facts in record["splits"].items())
        print(f"  {TRAINING_SCANS} synthetic CT scans to train with, {TEST_SCANS} to test, in {self.run_dir / 'scans'}")
        print(f"  {counts} slices in {self.data_dir}")
        return test

    def score(self, labels: Path) -> float:
        """Print Dice of each organ in each test volume, and return the mean."""
        from demo_report import show

        from condseg_monai import synapse_class_names

        self.announce("Scores: Dice of each organ in the whole volume")
        names = synapse_class_names()[1:]
        columns = {}
        for path in sorted(labels.glob("*.nii.gz")):
            label, pred = (np.asarray(nibabel.load(file).dataobj) for file in (path, self.predictions_dir / path.name))
            columns[path.name.removesuffix(".nii.gz")] = [
                2 * np.sum((pred == k) & (label == k)) / (np.sum(pred == k) + np.sum(label == k))
                for k in range(1, len(names) + 1)
            ]
        show(f"  {'':16s}" + "".join(f"{name:>10s}" for name in columns))
        for row, name in enumerate(names):
            show(f"  {name:16s}" + "".join(f"{scores[row]:10.3f}" for scores in columns.values()))
        show(f"  {'mean':16s}" + "".join(f"{np.mean(scores):10.3f}" for scores in columns.values()))
        return float(np.mean(list(columns.values())))

    def draw(self, scans: Path) -> None:
        """Save a sheet of cuts through the test volumes: predictions as tints, labels as lines."""
        from condseg_monai import (
            PLANES,
            axial_slices,
            axial_spacing,
            class_colors,
            contact_sheet,
            draw_planes,
            read_nifti,
            synapse_class_names,
        )

        rows, titles = [], []
        for name in sorted(path.name for path in (scans / "img").glob("*.nii.gz")):
            volumes = [read_nifti(folder / name) for folder in (scans / "img", scans / "label", self.predictions_dir)]
            image, label, pred = (axial_slices(volume.array, volume.affine) for volume in volumes)
            rows.append(draw_planes(image, pred, label, axial_spacing(volumes[0].affine), side=CELL_SIZE))
            titles.append(f"{name}: prediction tinted, outlines of the label")
        names = synapse_class_names()
        legend = dict(zip(names[1:], class_colors(len(names))[1:].tolist(), strict=True))
        sheet = contact_sheet(rows, [plane.capitalize() for plane in PLANES], titles, CELL_SIZE, legend)
        sheet.save(self.run_dir / "contact_sheet.png")

    def show_results(self) -> None:
        """Print where everything is."""
        places = {
            "cuts through the test volumes": self.run_dir / "contact_sheet.png",
            "label volumes": self.predictions_dir,
            "scans and their labels": self.run_dir / "scans",
        }
        self.print_places(places)
