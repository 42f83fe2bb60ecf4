"""Evaluation report: a table of images, a summary and an HTML page, written by an evaluator's handler."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.handlers import IgniteMetricHandler
from monai.networks.utils import eval_mode
from monai.utils import ImageMetaKey
from torch import Tensor

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.lists.pairing import Finding, case_name
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.metrics.binary import EMPTY_MASK_RULE
from condseg_monai.metrics.class_scores import ABSENT_CLASS_RULE
from condseg_monai.metrics.evaluation import pooled_counts
from condseg_monai.metrics.probability_bins import ProbabilityBinMetric, calibration_curve, threshold_curve
from condseg_monai.metrics.score_metric import ScoreMetric
from condseg_monai.metrics.surface_distance import EMPTY_DISTANCES
from condseg_monai.reports.curves import curves_of
from condseg_monai.reports.drawing import draw_case, draw_class_case, draw_heat_map, picture_uri, png_uri
from condseg_monai.reports.evaluation_page import CasePicture, html_report
from condseg_monai.reports.report_files import ReportFiles
from condseg_monai.reports.score_table import IMAGE_COLUMNS, ScoreTable
from condseg_monai.reports.summary import SIZE_LIMITS, all_foreground_dice, summarize_scores, summarize_sizes
from condseg_monai.utils.files import atomic_write
from condseg_monai.utils.processes import gather_lists

__all__ = ["ScoreReport"]


class ScoreReport:
    """Handler of an evaluator that writes every image's scores, their summary and an HTML page.

    ``scores_{name}.csv`` has a line per image and a column per metric of the engine, ``summary_{name}.json`` the
    statistics of each metric, ``report_{name}.html`` all that with the worst and best images, ``failures_{name}.json``
    what could not be scored. While the evaluation runs, ``unfinished_scores_{name}.csv`` has the images scored so far;
    if it is killed, that file stays until the next one.

    The engine's metrics must keep their details (``save_details``), and its batches the images' metadata. Sizes are
    those of ``label_original``, ``(1, H, W)``, in the engine's output, or else of ``label``.

    Args:
        save_dir: folder of the report.
        name: ends the files' names; usually the split.
        checkpoint: the weights that are scored.
        context: conditions that the summary repeats: split, normalization, image size and the like.
        overwrite: replace the report of an earlier run, which otherwise stops this one before it starts.
        pooled: metrics whose pixel counts are also scored as one image, by the suffix of their scores' names.
        postprocessing: the evaluator's own, which gives ``pred_original`` and ``label_original``, ``(1, H, W)``,
            and ``prob_original``, ``(C, H, W)``; the worst and best images are predicted again with it and drawn. None
            draws none.
        num_cases: how many images to draw of the worst, and as many of the best.
        rank_by: the metric that ranks the images; None for the first.
        metrics: the engine's metric handlers by name, for the scores so far; None writes none until the end.
        probability_bins: a metric of the engine, for the curves of thresholds and calibration; None draws none.
        classes: of several classes, their values by name, background first; None for a binary mask.
        failed: what kept images from being scored, see :class:`~condseg_monai.inference.cases.Cases`.

    Raises:
        ValueError: if ``num_cases`` is negative.
    """

    def __init__(
        self,
        save_dir: str,
        name: str,
        checkpoint: RequiredCheckpoint | None = None,
        context: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        pooled: Mapping[str, ScoreMetric] | None = None,
        postprocessing: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        num_cases: int = 6,
        rank_by: str | None = None,
        metrics: Mapping[str, IgniteMetricHandler] | None = None,
        failed: Sequence[Finding] = (),
        classes: Mapping[str, Any] | None = None,
        probability_bins: ProbabilityBinMetric | None = None,
    ) -> None:
        if num_cases < 0:
            raise ValueError(f"num_cases must not be negative, got {num_cases}")
        self.name = name
        self.files = ReportFiles(save_dir, name, overwrite)
        self.unfinished_path = Path(save_dir) / f"unfinished_scores_{name}.csv"
        self.checkpoint = checkpoint
        self.context = dict(context or {})
        self.pooled = dict(pooled or {})
        self.postprocessing = postprocessing
        self.num_cases = num_cases
        self.rank_by = rank_by
        self.metrics = dict(metrics or {})
        self.classes = classes
        self.probability_bins = probability_bins
        self.failed = failed  # grows while the evaluation runs
        self._images: list[str] = []
        self._on_disk = 0

    def attach(self, engine: Engine) -> None:
        """Check the folder before ``engine`` runs, collect file names, and write the report when it is complete."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        """Start a new list of images; raise ``FileExistsError`` if there is a report and ``overwrite`` is false."""
        self.files.refuse_earlier()
        self._images, self._on_disk = [], 0

    def collect(self, engine: Engine) -> None:
        """Note file names and sizes of the batch, whose images must have metadata, and write the scores so far."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        for item, result in zip(batch, output if isinstance(output, list) else [{}] * len(batch), strict=True):
            meta = getattr(item["image"], "meta", None)
            if meta is None:
                raise ValueError("the batch's images have lost their metadata: keep track_meta on in the preprocessing")
            facts: dict[str, Any] = {"file": _file({**item, "image": str(meta[ImageMetaKey.FILENAME_OR_OBJ])})}
            label = result.get("label_original", item.get("label"))
            if label is not None:
                height, width = label.shape[-2:]
                facts.update(height=height, width=width, label_share=int(torch.count_nonzero(label)) / label.numel())
            self._images.append(json.dumps(facts))  # text, which is what can be gathered
        # The whole file is written anew: of many images only if 1 % of them are new.
        if self.metrics and idist.get_world_size() == 1 and len(self._images) * 0.99 >= self._on_disk:
            scores = {name: handler.metric_fn.get_buffer() for name, handler in self.metrics.items()}
            with atomic_write(self.unfinished_path) as temporary:
                _table(scores, self._images).write(temporary)
            self._on_disk = len(self._images)

    def write(self, engine: Engine) -> None:
        """Write the files; raise ``RuntimeError`` if the engine has no metric details, or not one per image."""
        evaluator: Any = engine
        images, failed = gather_lists(self._images), gather_lists(self.failed)
        data = [] if self.postprocessing is None else gather_lists(evaluator.data_loader.dataset.data)
        counts = {suffix: metric.measurements() for suffix, metric in self.pooled.items()}
        bins = None if self.probability_bins is None else self.probability_bins.measurements()
        if idist.get_rank() > 0:
            return
        details = getattr(engine.state, "metric_details", {})
        if not details:
            raise RuntimeError("the engine has no metric details to report: set save_details on its metrics")
        table = _table(details, images)
        known = {suffix: rows for suffix, rows in counts.items() if rows is not None}
        summary = self._summary(table, known, bins, failed)
        ranked_by = self.rank_by or next(iter(table.scores))
        if ranked_by not in table.scores:
            raise RuntimeError(f"rank_by is {ranked_by!r}, but the metrics are {', '.join(table.scores)}")
        worst, best = self._cases(engine, table, ranked_by, data)
        page = html_report(f"Evaluation on {self.name}", table, summary, worst, best, ranked_by, **self._training())
        self.files.write(table, summary, page, summary["failed"])
        self.unfinished_path.unlink(missing_ok=True)
        means = {score: found["mean"] for score, found in summary["scores"].items() if found["mean"] is not None}
        said = ", ".join(f"{self.name}_{score} {mean:.4f}" for score, mean in means.items())
        logging.getLogger(__name__).info(
            f"Scores of {len(table)} images: {said}; report {self.files.page}, table {self.files.table}, "
            f"summary {self.files.summary}"
        )

    def _summary(
        self, table: ScoreTable, counts: Mapping[str, Tensor], bins: Tensor | None, failed: Sequence[Finding]
    ) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "images": len(table),
            "failed": [problem._asdict() for problem in failed],
            "scores": summarize_scores(table),
        }
        if bins is not None:
            summary["calibration"] = calibration_curve(bins.cpu(), self.context.get("threshold", 0.5))
            summary["thresholds"] = threshold_curve(bins.cpu())
        if self.classes is not None:
            summary["classes"] = dict(self.classes)
        elif "label_share" in table.images:
            summary["all_foreground_dice"] = all_foreground_dice(table.images["label_share"])
        pooled = {suffix: pooled_counts(rows, self.classes) for suffix, rows in counts.items()}
        if pooled:
            summary["pooled"] = {
                f"pooled_{name}{suffix}": value
                for suffix, found in pooled.items()
                for name, value in found.scores.items()
            }
        for suffix, found in pooled.items():
            summary[f"missed_images{suffix}"] = found.missed
            summary[f"false_alarm_images{suffix}"] = found.false_alarms
        if groups := summarize_sizes(table):
            summary.update(subgroups=groups, size_limits=list(SIZE_LIMITS))
        rules = {
            "averaging": "each image is scored by itself, then the scores are averaged over images",
            "pooled": "pixels of all images are counted together, then scored as one image",
            "sizes": "at image_size, the label resized without interpolation; _original: the probability interpolated "
            "to the size of the file, the label as in the file; "
            + (
                f"a probability of {self.context.get('threshold', 0.5)} or more is lesion"
                if self.classes is None
                else "the class of the largest probability is taken"
            ),
            "std": "over images, divided by n",
            "interval_95": "of the mean over images: percentile bootstrap, 9999 resamples, seed 0",
            "empty_masks": EMPTY_MASK_RULE if self.classes is None else ABSENT_CLASS_RULE,
        }
        if (empty := self.context.get("empty_distance")) in EMPTY_DISTANCES:
            rules["empty_distance"] = EMPTY_DISTANCES[empty]
        card = None if self.checkpoint is None else self.checkpoint.card
        return {
            **summary,
            **self.context,
            **({} if self.checkpoint is None else self.checkpoint.describe()),
            **({} if card is None else {"model": card.settings()}),
            "rules": rules,
        }

    def _training(self) -> dict[str, Any]:
        """What the model card and the record of the training say of it, for the page."""
        if self.checkpoint is None or (card := self.checkpoint.card) is None:
            return {}
        facts = {"method": card.method, "epoch": card.training.get("epoch"), "data": card.training.get("data")}
        if best := card.training.get("best"):
            facts["best in validation"] = f"{best['metric']} {best['value']:.4f} in epoch {best['epoch']}"
        for name, split in card.training.get("splits", {}).items():
            facts[f"{name} images"] = split.get("count")
        facts |= card.versions
        curves = curves_of(self.checkpoint.path, card)
        return {
            "training": {name: value for name, value in facts.items() if value is not None},
            "curves": None if curves is None else png_uri(curves),
        }

    def _cases(
        self, engine: Engine, table: ScoreTable, ranked_by: str, data: Sequence[Mapping[str, Any]]
    ) -> tuple[list[CasePicture], list[CasePicture]]:
        """Draw the worst and the best images, no image twice."""
        if self.postprocessing is None:
            return [], []
        ranked = [table.files[row] for row in table.ranked(ranked_by)]
        number = min(self.num_cases, (len(ranked) + 1) // 2)
        worst, best = ranked[:number], ranked[number:][::-1][:number]
        cases = {_file(case): case for case in data}
        drawn = {file: self._draw(engine, file, cases[file]) for file in (*worst, *best)}
        return [drawn[file] for file in worst], [drawn[file] for file in best]

    def _draw(self, engine: Engine, file: str, case: Mapping[str, Any]) -> CasePicture:
        evaluator: Any = engine
        item = Dataset([case], evaluator.data_loader.dataset.transform)[0]
        network = getattr(evaluator.network, "module", evaluator.network)
        batch = torch.as_tensor(item["image"])[None].to(evaluator.state.device)
        with eval_mode(network):
            logits = network(batch)
        assert self.postprocessing is not None
        result = self.postprocessing({**item, "pred": logits[0].float()})
        pred, label = (result[f"{key}_original"][0].cpu().numpy().astype(np.uint8) for key in ("pred", "label"))
        image = read_natural_image(case["image"])
        draw = draw_case if self.classes is None else draw_class_case
        overlay = draw(image, pred, label)
        probs = result["prob_original"].float().cpu().numpy()
        lesion = probs[0] if self.classes is None else 1 - probs[0]
        heat = draw_heat_map(lesion.clip(0, 1), overlay.shape[:2])
        return CasePicture(file, picture_uri(overlay), picture_uri(heat))


def _file(case: Mapping[str, Any]) -> str:
    """How a table calls a case: its image's file name, with the sub-folder in front if there is one."""
    return case_name(case) + Path(case["image"]).suffix


def _table(scores: Mapping[str, Any], images: Sequence[str]) -> ScoreTable:
    """The scores of every image, ``(N, 1)`` each, by name without ``val_``, and the facts of the images, as JSON."""
    columns = {
        name.removeprefix("val_"): torch.as_tensor(value).flatten().double().cpu().numpy()
        for name, value in scores.items()
    }
    for name, values in columns.items():
        if len(values) != len(images):
            raise RuntimeError(f"metric {name} has {len(values)} values for {len(images)} images")
    facts = [json.loads(image) for image in images]
    known = [name for name in IMAGE_COLUMNS if all(name in image for image in facts)]
    sizes = {name: np.array([image[name] for image in facts], dtype=np.float64) for name in known}
    return ScoreTable([image["file"] for image in facts], columns, sizes)
