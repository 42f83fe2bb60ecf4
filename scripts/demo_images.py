"""``scripts/demo``: from images to masks, with scores and a sheet of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from demo_steps import Demo
from monai.bundle import ConfigWorkflow
from monai.networks.utils import eval_mode
from PIL import Image

from condseg_monai import check_datalist, make_synthetic_dataset
from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.metrics.binary import binary_scores
from condseg_monai.reports.drawing import LABEL_COLOR, PREDICTION_COLOR, draw_heat_map, draw_overlay
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.sheet import contact_sheet
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.text_tables import text_table

COLUMNS = ("Image", "Label", "Prediction", "Probability", "Foreground", "Background", "Uncertainty")
SCORES = {
    "mean_iou": "mIoU",
    "mean_dice": "mDSC",
    "recall": "recall",
    "precision": "precision",
    "accuracy": "accuracy",
    "f2": "F2",
}
NUM_CASES = 6
SHIPPED = "condseg_polyp"


class ImagesDemo(Demo):
    """The steps on images: data, training, evaluation, prediction."""

    def run(self) -> int:
        """Do everything; the status is 1 if the synthetic data was not learned."""
        self.scores_dir = self.run_dir / "scores"
        self.mask_threshold = self.options.get("mask_threshold", 127)
        splits = self.prepare_data()
        self.train("train the encoder on each image and a strongly recoloured copy")
        scored = [split for split in ("val", "test") if split in splits]
        self.evaluate(scored)
        self.predict(scored[-1], splits[scored[-1]])
        shipped = {} if self.arguments.dataset_dir is None else self.predict_with_shipped_model(scored[-1])
        self.show_places(
            {
                f"{scored[-1]} cases from worst to best": self.run_dir / "contact_sheet.png",
                "masks, probability, uncertainty": self.predictions_dir,
                "contours on the images": self.predictions_dir / "overlay",
                "scores of every image, summaries": self.scores_dir,
                "report, to open in a browser": self.scores_dir / f"report_{scored[-1]}.html",
                **shipped,
            }
        )
        return self.verdict(self.summary("val")["scores"]["mean_dice"]["mean"], "validation mDSC")

    def prepare_data(self) -> dict[str, list[dict[str, str]]]:
        """Make the synthetic data set unless there is one, check the data, and return the cases of each split."""
        if self.arguments.dataset_dir is None:
            make_synthetic_dataset(self.data_dir, image_size=self.options["image_size"])
        lists = ["train", "val", *(["test"] if (self.data_dir / "test.txt").is_file() else [])]
        splits = check_datalist(self.data_dir, lists, self.mask_threshold)
        self.announce("Data")
        print(f"  {', '.join(f'{len(cases)} {name}' for name, cases in splits.items())} images in {self.data_dir}")
        return splits

    def evaluate(self, splits: Sequence[str]) -> None:
        """Score the best weights on each split, beside a mask that covers everything."""
        self.announce("Evaluation")
        rows = [["mean over images (standard deviation)", *SCORES.values(), "mDSC if everything were foreground"]]
        for split in splits:
            workflow = self.open(self.files.evaluate, split=split, output_dir=str(self.scores_dir))
            self.finish(workflow)
            labels = [item["label"][None] for item in workflow.parser.get_parsed_content("validate#dataset")]
            covered = np.mean([binary_scores(torch.ones_like(label), label)["dice"].item() for label in labels])
            summary = self.summary(split)
            scores = [summary["scores"][name] for name in SCORES]
            cells = [f"{score['mean']:.3f} ({score['std']:.3f})" for score in scores]
            rows.append([f"{split} ({summary['images']})", *cells, f"{covered:.3f} {'':7s}"])
        print(f"\n{text_table(list(zip(*rows, strict=True)))}", flush=True)

    def predict(self, split: str, cases: Sequence[Mapping[str, str]]) -> None:
        """Segment the images of a split at their own size and draw a sheet of some, from the worst Dice to the best."""
        self.announce("Prediction")
        source = self.data_dir / f"{split}.txt"
        workflow = self.open(self.files.predict, dataset_dir=str(source), output_dir=str(self.predictions_dir))
        self.finish(workflow)
        table = ScoreTable.read(self.scores_dir / f"scores_{split}.csv")
        dice = dict(zip(table.files, table.scores["mean_dice"].tolist(), strict=True))
        ranked = sorted(cases, key=lambda case: dice[Path(case["image"]).name])
        chosen = [ranked[i] for i in np.unique(np.linspace(0, len(ranked) - 1, NUM_CASES).round().astype(int))]
        rows = [self.sheet_row(workflow, case) for case in chosen]
        if len(rows[0]) == len(COLUMNS) and all(row[-1].max() < 0.05 for row in rows):
            print("  the uncertainty region is empty in these cases: it is left out of the sheet")
            rows = [row[:-1] for row in rows]
        rows = [[*row[:3], *(draw_heat_map(values, row[0].shape[:2]) for values in row[3:])] for row in rows]
        titles = [f"{(name := Path(case['image']).name)}, Dice {dice[name]:.2f}" for case in chosen]
        legend = {"outline of the label": LABEL_COLOR, "outline of the prediction": PREDICTION_COLOR}
        nothing, certain = draw_heat_map([[0, 1]])[0].tolist()
        legend |= {"probability 0": nothing, "probability 1": certain}
        sheet = contact_sheet(rows, COLUMNS[: len(rows[0])], titles, legend=legend)
        sheet.save(self.run_dir / "contact_sheet.png")

    def predict_with_shipped_model(self, split: str) -> dict[str, Path]:
        """Segment the same images, your own, with the polyp model that comes with the bundle."""
        self.announce("The polyp model that comes with the bundle, on the same images")
        places = {"dataset_dir": self.data_dir / f"{split}.txt", "output_dir": self.run_dir / SHIPPED}
        places["checkpoint"] = bundle_dir() / "models" / f"{SHIPPED}.pt"
        workflow = self.open(("inference",), **{name: str(path) for name, path in places.items()})
        self.finish(workflow)
        return {"contours of the polyp model": self.run_dir / SHIPPED / "overlay"}

    def sheet_row(self, workflow: ConfigWorkflow, case: Mapping[str, str]) -> list[np.ndarray]:
        """Image, label, contours, and probabilities: of the mask, and of the regions of a network that has them."""
        path = Path(case["image"])
        image = read_natural_image(path) / 255.0
        label = read_natural_image(case["label"], "L") > self.mask_threshold
        pred = np.asarray(Image.open(self.predictions_dir / f"{path.stem}.png")) > 0
        row = [image, label, draw_overlay(image, pred, label, legend=False)]
        network = workflow.parser.get_parsed_content("network")
        batch = workflow.parser.get_parsed_content("preprocessing")({"image": str(path)})["image"].as_tensor()[None]
        batch = batch.to(next(network.parameters()).device)
        with eval_mode(network):
            if hasattr(network, "predict_regions"):
                logits, regions = network.predict_regions(batch)
                return [*row, *torch.cat([logits.sigmoid(), regions], dim=1)[0].cpu().numpy()]
            return [*row, network(batch).sigmoid()[0, 0].cpu().numpy()]

    def summary(self, split: str) -> dict:
        """The summary of an evaluation."""
        return json.loads((self.scores_dir / f"summary_{split}.json").read_text(encoding="utf-8"))
