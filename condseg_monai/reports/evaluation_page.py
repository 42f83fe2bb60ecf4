"""HTML page of an evaluation: scores, histograms, lesion sizes, worst and best images, and a sortable table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from condseg_monai.metrics.class_scores import CLASS_SCORES, class_score
from condseg_monai.metrics.surface_distance import SURFACE_DISTANCES
from condseg_monai.reports.pages import format_number, format_percent, pooled_name, render_page, score_title
from condseg_monai.reports.score_table import ScoreTable, is_lower_better
from condseg_monai.reports.summary import SIZE_LIMITS
from condseg_monai.utils.palette import class_colors

__all__ = ["CasePicture", "html_report"]

_HEADLINE = ("mean_iou", "mean_dice", "mean_iou_original", "mean_dice_original")
_CONDITIONS = (
    "split",
    "image_size",
    "normalization",
    "mask_threshold",
    "checkpoint",
    "missed_images_original",
    "false_alarm_images_original",
)
_COUNTS = ("missed_images", "false_alarm_images")
_OF_BINARY_MASKS = ("mask_threshold", *(f"{name}_original" for name in _COUNTS))
_GROUP_SCORES = ("mean_iou", "mean_dice", "recall", "precision", "hd95", "asd")
_SHOWN_ELSEWHERE = {"calibration", "thresholds", "scores", "pooled", "subgroups", "rules", "images", "failed"}
_CLASS_SCORES = (*CLASS_SCORES, *SURFACE_DISTANCES)


@dataclass(frozen=True)
class CasePicture:
    """One image with its contours, for the page."""

    file: str
    overlay: str
    """Data address of the picture, as :func:`~condseg_monai.reports.drawing.picture_uri` makes it."""
    probability: str
    """Data address of the predicted probability of lesion, of any class but the background."""


def html_report(
    title: str,
    table: ScoreTable,
    summary: Mapping[str, Any],
    worst: Sequence[CasePicture] = (),
    best: Sequence[CasePicture] = (),
    ranked_by: str | None = None,
    training: Mapping[str, Any] | None = None,
    curves: str | None = None,
) -> str:
    """Write the page of one evaluation.

    Args:
        title: heading of the page.
        table: scores of every image.
        summary: the content of ``summary_*.json``.
        worst: pictures of the worst images, worst first.
        best: pictures of the best images, best first.
        ranked_by: the score that ranks the images.
        training: facts of the training that made the model, by name.
        curves: data address of the picture of its curves.
    """
    suffix = "_original" if any(name.endswith("_original") for name in table.scores) else ""
    classes = list(summary.get("classes", ()))[1:]
    row_of = {file: row for row, file in enumerate(table.files)}

    def case_facts(file: str) -> list[tuple[str, str]]:
        parts = [class_score("dice", name) for name in classes] or ["recall", "precision", "hd95"]  # missed, or made up
        names = [name + suffix for name in ("mean_dice", *parts)]
        values = {name: float(table.scores[name][row_of[file]]) for name in names if name in table.scores}
        facts = [(score_title(name), format_number(value)) for name, value in values.items()]
        if "label_share" in table.images:
            facts.append(("lesion", format_percent(table.images["label_share"][row_of[file]])))
        return facts

    defaults: dict[str, Any] = {"failed": [], "subgroups": {}}
    pooled = {pooled_name(name): None for name in summary["scores"]} | summary.get("pooled", {})
    return render_page(
        "evaluation.html",
        title,
        summary={**defaults, **summary, "pooled": pooled},
        conditions=[name for name in _CONDITIONS if not (classes and name in _OF_BINARY_MASKS)],
        classes=_classes(classes, summary, suffix),
        class_heads=[score_title(score) for score in _CLASS_SCORES],
        colors=list(zip(classes, class_colors(len(classes) + 1)[1:].tolist(), strict=True)),
        headline=[name for name in _HEADLINE if name in summary["scores"]],
        histograms=_histograms(table, suffix, classes),
        charts=_charts(summary),
        group_scores=[name + suffix for name in _GROUP_SCORES if name + suffix in table.scores],
        size_limits=summary.get("size_limits", SIZE_LIMITS),
        worst=worst,
        best=best,
        ranked_by=ranked_by,
        training=training or {},
        curves=curves,
        case_facts=case_facts,
        heads=_heads(table),
        rows=_rows(table),
        rules={key: value for key, value in summary.items() if key not in _SHOWN_ELSEWHERE and value is not None}
        | summary.get("rules", {}),
    )


def _classes(classes: Sequence[str], summary: Mapping[str, Any], suffix: str) -> list[dict[str, Any]]:
    """Of each class its scores and in how many images it was missed or made up."""
    return [
        {
            "name": name,
            "scores": [summary["scores"][class_score(score, name) + suffix] for score in _CLASS_SCORES],
            "counts": [summary[f"{count}{suffix}"][name] for count in _COUNTS],
        }
        for name in classes
    ]


def _histograms(table: ScoreTable, suffix: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """For each score the bars' heights and the lines' places, in [0, 1], each with its text; of classes Dice alone."""
    histograms = []
    by_class = {class_score(score, name) + suffix for name in classes for score in _CLASS_SCORES[2:]}
    by_class |= {class_score("iou", name) + suffix for name in classes}
    for name, values in table.scores.items():
        finite = values[np.isfinite(values)]
        if len(finite) == 0 or not name.endswith(suffix) or name in by_class:
            continue
        is_distance = is_lower_better(name) and "mae" not in name.split("_")
        end = max(1.0, float(math.ceil(finite.max()))) if is_distance else 1.0
        counts, edges = np.histogram(np.clip(finite, 0, end), bins=20, range=(0, end))
        top = int(counts.max())
        histograms.append(
            {
                "name": name,
                "title": score_title(name),
                "end": end,
                "top": top,
                "left_out": len(values) - len(finite),
                "bars": [
                    (count / top, f"{low:.4g} to {high:.4g}: {count}")
                    for count, low, high in zip(counts.tolist(), edges, edges[1:], strict=False)
                ],
                "lines": [
                    (kind, min(value / end, 1.0), f"{kind} {value:.4g}")
                    for kind, value in (("mean", float(finite.mean())), ("median", float(np.median(finite))))
                ],
            }
        )
    return histograms


def _charts(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Line charts of thresholds and calibration: their lines as points in [0, 1], and what is read off them."""
    if "thresholds" not in summary:
        return []
    curve, calibration = summary["thresholds"], summary["calibration"]
    thresholds, used = curve["threshold"], summary.get("threshold", 0.5)
    names = [name for name in curve if name != "threshold"]
    best = int(np.argmax(curve["mean_dice"]))
    filled = [pair for pair in zip(calibration["probability"], calibration["lesion"], strict=True) if None not in pair]
    doubtful = calibration["doubtful"]
    wrong = "" if doubtful["errors"] is None else f", and {format_percent(doubtful['errors'])} of the wrong ones"
    return [
        {
            "title": "Scores by threshold",
            "axes": ("threshold of the probability", "mean over images"),
            "lines": [(score_title(name), list(zip(thresholds, curve[name], strict=True))) for name in names],
            "mark": used,
            "text": f"Used: {used:g}, the dotted line. Dice is highest at {thresholds[best]:g}, with "
            f"{format_number(curve['mean_dice'][best])}; chosen on these images, that is too favourable a figure.",
        },
        {
            "title": "Calibration",
            "axes": ("mean probability", "share of pixels that are lesion"),
            "lines": [("model", filled), ("perfect", [(0.0, 0.0), (1.0, 1.0)])],
            "mark": None,
            "text": f"Expected calibration error {format_number(calibration['error'])} over the pixels of all images. "
            f"{format_percent(doubtful['pixels'])} of all pixels have a probability from 0.25 to 0.75{wrong}.",
        },
    ]


_IMAGE_TITLES = {"height": "Height", "width": "Width", "label_share": "Lesion"}


def _heads(table: ScoreTable) -> list[tuple[str, str, str]]:
    """Of each column the name, the title and what stands below it."""
    scores = [(name, score_title(name), "original" if name.endswith("_original") else "") for name in table.scores]
    return [("file", "File", ""), *((name, _IMAGE_TITLES[name], "") for name in table.images), *scores]


def _rows(table: ScoreTable) -> list[tuple[str, list[tuple[float, str]]]]:
    """Of each image the file, and of each column what to sort by and what to show."""
    shown = {"height": "{:.0f}".format, "width": "{:.0f}".format, "label_share": format_percent}
    columns = {
        name: [(value, shown.get(name, format_number)(value)) for value in values.tolist()]
        for name, values in {**table.images, **table.scores}.items()
    }
    return [(file, [cells[row] for cells in columns.values()]) for row, file in enumerate(table.files)]
