"""``scripts/demo --task synapse``: from CT volumes to label volumes, on a phantom."""

from __future__ import annotations

from pathlib import Path

from demo_steps import Demo

from condseg_monai import synapse_class_names
from condseg_monai.data.ct.nifti import read_nifti
from condseg_monai.data.ct.volume import axial_slices, axial_spacing
from condseg_monai.data.prepare.synapse import prepare_synapse
from condseg_monai.data.synthetic.ct_phantom import make_synthetic_ct
from condseg_monai.reports.drawing import PLANES, draw_planes
from condseg_monai.reports.sheet import contact_sheet
from condseg_monai.reports.volume_scoring import score_volumes
from condseg_monai.utils.palette import class_colors
from condseg_monai.utils.text_tables import text_table

TRAINING_SCANS, TEST_SCANS = 5, 2
SHAPE = (24, 64, 80)
CELL_SIZE = 270  # pixels of a picture's longer side


class SynapseDemo(Demo):
    """The steps on CT: phantoms, their slices, both stages, whole volumes, Dice of each organ."""

    def run(self) -> int:
        """Do everything; the status is 1 if the organs were not learned."""
        scans = self.make_scans()
        self.train("train the encoder on each slice and a strongly changed copy")
        self.announce("Prediction: volume in, volume out")
        self.finish(self.open(self.files.predict, dataset_dir=str(scans / "img"), output_dir=str(self.predictions_dir)))
        dice = self.score(scans)
        self.draw(scans)
        self.show_places(
            {
                "cuts through the test volumes": self.run_dir / "contact_sheet.png",
                "label volumes": self.predictions_dir,
                "scans and their labels": self.run_dir / "scans",
                "report, to open in a browser": self.run_dir / "scores" / "report_volumes.html",
            }
        )
        return self.verdict(dice, "mean Dice of the organs in the test volumes")

    def make_scans(self) -> Path:
        """Make the phantoms, and of most of them the slices to train on; return the folder of the others."""
        self.announce("Data")
        train = make_synthetic_ct(self.run_dir / "scans" / "train", TRAINING_SCANS, SHAPE)
        test = make_synthetic_ct(self.run_dir / "scans" / "test", TEST_SCANS, SHAPE, seed=1000)
        record = prepare_synapse(train, self.data_dir, source_labels="transunet", hold_out={"val": 1})
        counts = " and ".join(f"{facts['cases']} {split}" for split, facts in record["splits"].items())
        print(f"  {TRAINING_SCANS} synthetic CT scans to train with, {TEST_SCANS} to test, in {self.run_dir / 'scans'}")
        print(f"  {counts} slices in {self.data_dir}")
        return test

    def score(self, scans: Path) -> float:
        """Print Dice of each organ in each test volume, write the report, and return the mean."""
        self.announce("Scores: Dice of each organ in the whole volume")
        names, scores_dir = synapse_class_names(), self.run_dir / "scores"
        summary = score_volumes(self.predictions_dir, scans / "label", names, names, scores_dir, images=scans / "img")
        rows = [("", "mean Dice"), *((organ, f"{s['dice']['mean']:.3f}") for organ, s in summary["organs"].items())]
        print(text_table([*rows, ("mean", f"{summary['mean']['dice']:.3f}")]), flush=True)
        return summary["mean"]["dice"]

    def draw(self, scans: Path) -> None:
        """Save a sheet of cuts through the test volumes: predictions as tints, labels as lines."""
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
