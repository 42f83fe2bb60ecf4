"""Report of scored label volumes: a table, a summary and a page with cuts through each volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from condseg_monai.metrics.surface_distance import EMPTY_DISTANCES
from condseg_monai.metrics.volume_scores import TRANSUNET_RULE, VOLUME_SCORES, OrganScores
from condseg_monai.reports.drawing import PLANES, picture_uri
from condseg_monai.reports.pages import format_number, render_page, score_title
from condseg_monai.reports.report_files import ReportFiles
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import summarize_scores
from condseg_monai.utils.palette import class_colors

__all__ = ["ScoredVolume", "summarize_volumes", "write_volume_report"]


@dataclass(frozen=True)
class ScoredVolume:
    """One volume with its scores and pictures."""

    name: str
    scores: Sequence[OrganScores]
    """One per organ, in the order of the classes."""
    pictures: Sequence[np.ndarray] = ()
    """One per plane, as :func:`~condseg_monai.reports.drawing.draw_planes` makes them."""


def summarize_volumes(volumes: Sequence[ScoredVolume], organs: Sequence[str]) -> dict[str, Any]:
    """Summarise each organ over volumes, and the organs' means; ``millilitres`` are per volume and organ."""
    per_organ = {}
    for index, organ in enumerate(organs):
        names = [volume.name for volume in volumes]
        per_organ[organ] = summarize_scores(_table(names, [volume.scores[index] for volume in volumes]))
    means: dict[str, float | None] = {}
    for name in VOLUME_SCORES:
        known = [scores[name]["mean"] for scores in per_organ.values() if scores[name]["mean"] is not None]
        means[name] = float(np.mean(known)) if known else None
    millilitres = {
        volume.name: {
            organ: {"pred": scores.pred_ml, "label": scores.label_ml}
            for organ, scores in zip(organs, volume.scores, strict=True)
        }
        for volume in volumes
    }
    return {"volumes": len(volumes), "mean": means, "organs": per_organ, "millilitres": millilitres}


def write_volume_report(
    files: ReportFiles,
    name: str,
    volumes: Sequence[ScoredVolume],
    organs: Sequence[str],
    context: Mapping[str, Any],
    empty: str = "diagonal",
) -> dict[str, Any]:
    """Write the table, a line per volume and organ (``case/organ``), the summary and the page; return the summary."""
    rows = [(f"{volume.name}/{organ}", s) for volume in volumes for organ, s in zip(organs, volume.scores, strict=True)]
    table = _table(*zip(*rows, strict=True))
    summary = {
        **summarize_volumes(volumes, organs),
        **context,
        "rules": {
            "averaging": "each organ of each volume is scored by itself, averaged over volumes, then over organs",
            "dice": "neither there nor predicted: 1; only one of the two: 0",
            "hd95_mm": f"larger direction's 95th percentile; {EMPTY_DISTANCES[empty]}",
            "transunet": TRANSUNET_RULE,
            "interval_95": "of the mean over volumes: percentile bootstrap, 9999 resamples, seed 0",
        },
    }
    files.write(table, summary, _page(name, table, volumes, organs, summary))
    return summary


def _table(names: Sequence[str], scores: Sequence[OrganScores]) -> ScoreTable:
    columns = {name: np.array([getattr(s, name) for s in scores], dtype=np.float64) for name in VOLUME_SCORES}
    return ScoreTable(list(names), columns)


def _page(
    name: str, table: ScoreTable, volumes: Sequence[ScoredVolume], organs: Sequence[str], summary: Mapping[str, Any]
) -> str:
    drawn = [
        {
            "name": volume.name,
            "pictures": [(plane, picture_uri(picture)) for plane, picture in zip(PLANES, volume.pictures, strict=True)],
            "dice": float(np.mean([scores.dice for scores in volume.scores])),
        }
        for volume in volumes
        if volume.pictures
    ]
    columns = [[(value, format_number(value)) for value in values.tolist()] for values in table.scores.values()]
    every = [scores for volume in volumes for scores in volume.scores]
    columns += [
        [(ml, f"{ml:.1f}") for ml in sizes] for sizes in ([s.pred_ml for s in every], [s.label_ml for s in every])
    ]
    return render_page(
        "volumes.html",
        f"Scores of {name}",
        summary={"failed": {}, **summary},
        scores=VOLUME_SCORES,
        drawn=drawn,
        colors=list(zip(organs, class_colors(len(organs) + 1)[1:].tolist(), strict=True)),
        heads=[
            ("file", "Volume and organ", ""),
            *((score, score_title(score), "") for score in VOLUME_SCORES),
            *(
                (f"{kind}_ml", "Volume, ml", f"of the {name}")
                for kind, name in (("pred", "prediction"), ("label", "label"))
            ),
        ],
        rows=list(zip(table.files, zip(*columns, strict=True), strict=True)),
        rules={**summary["rules"], **{key: summary[key] for key in ("checkpoint", "class_names") if summary.get(key)}},
    )
