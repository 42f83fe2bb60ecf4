"""The scores of labelled volumes as a table, a summary and a page with cuts through each volume."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from condseg_monai.data.ct.synapse import window_ct
from condseg_monai.metrics import EMPTY_DISTANCES, TRANSUNET_RULE, VOLUME_SCORES, OrganScores
from condseg_monai.reports.drawing import class_colors, draw_classes
from condseg_monai.reports.html_parts import html_interval, html_number, html_page, html_section, html_table, html_text
from condseg_monai.reports.pictures import jpeg_uri
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import json_numbers, summarize_scores
from condseg_monai.utils.files import atomic_write, keep_earlier, write_json

__all__ = ["PLANES", "ScoredVolume", "draw_planes", "summarize_volumes", "write_volume_report"]

PLANES = ("axial", "coronal", "sagittal")

_TITLES = {
    "dice": "Dice",
    "hd95_mm": "HD95, mm",
    "transunet_dice": "Dice, TransUNet's rule",
    "transunet_hd95_voxels": "HD95, TransUNet's rule, voxels",
}


@dataclass(frozen=True)
class ScoredVolume:
    """One volume with its scores and pictures."""

    name: str
    scores: Sequence[OrganScores]
    """One per organ, in the order of the classes."""
    pictures: Sequence[np.ndarray] = ()
    """One per plane, as :func:`draw_planes` makes them."""


def draw_planes(
    image: np.ndarray | None,
    pred: np.ndarray,
    label: np.ndarray,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    side: int = 320,
) -> list[np.ndarray]:
    """Draw the cuts with the most organs: predictions as tints, the outlines of labels as lines.

    Args:
        image: ``(D, H, W)`` Hounsfield units, slices as :func:`~condseg_monai.data.axial_slices` gives them, or None.
        pred: class numbers, likewise.
        label: class numbers, likewise.
        spacing_mm: size of a voxel; the pictures have true proportions.
        side: longest side of a picture, in pixels.

    Returns:
        Axial, coronal and sagittal ``(h, w, 3)`` ``uint8``, head up, front up or left, the patient's right on the left.
    """
    marked = label if label.any() else pred
    pictures = []
    for axis in range(3):
        index = _fullest_cut(marked, axis)
        cuts = [None if array is None else np.take(array, index, axis=axis) for array in (image, pred, label)]
        steps = [step for i, step in enumerate(spacing_mm) if i != axis]
        if axis > 0:
            cuts = [None if cut is None else cut[::-1] for cut in cuts]
        pictures.append(_draw(cuts, steps, side))
    return pictures


def summarize_volumes(volumes: Sequence[ScoredVolume], organs: Sequence[str]) -> dict[str, Any]:
    """Summarise scores over volumes, organ by organ, and over organs.

    Args:
        volumes: at least one.
        organs: names of the classes but the background.

    Returns:
        ``volumes``: their number; ``organs``: for each, per score, what :func:`summarize_scores` gives; ``mean``: per
        score, the mean over organs of the means over volumes; ``millilitres``: per volume and organ.
    """
    per_organ = {}
    for index, organ in enumerate(organs):
        table = ScoreTable(
            [volume.name for volume in volumes],
            {
                name: np.array([getattr(volume.scores[index], name) for volume in volumes], dtype=np.float64)
                for name in VOLUME_SCORES
            },
        )
        per_organ[organ] = summarize_scores(table)
    means: dict[str, float | None] = {}
    for name in VOLUME_SCORES:
        known = [per_organ[organ][name]["mean"] for organ in organs if per_organ[organ][name]["mean"] is not None]
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
    save_dir: Path,
    name: str,
    volumes: Sequence[ScoredVolume],
    organs: Sequence[str],
    context: Mapping[str, Any],
    empty: str = "diagonal",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write ``scores_{name}.csv``, ``summary_{name}.json`` and ``report_{name}.html``.

    The table has a line per volume and organ, ``case/organ``, and can be read by ``python -m condseg_monai compare``.

    Args:
        save_dir: folder of the three; those of an earlier run are kept under numbered names.
        name: ends their names.
        volumes: at least one.
        organs: names of the classes but the background.
        context: conditions that the summary repeats.
        empty: the rule for missed organs the distances are by.
        overwrite: replace an earlier report instead of keeping it.

    Returns:
        The summary.
    """
    rows = [(f"{volume.name}/{organ}", s) for volume in volumes for organ, s in zip(organs, volume.scores, strict=True)]
    table = ScoreTable(
        [file for file, _ in rows],
        {score: np.array([getattr(s, score) for _, s in rows], dtype=np.float64) for score in VOLUME_SCORES},
    )
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
    paths = [save_dir / f"{kind}_{name}.{end}" for kind, end in _FILES]
    if not overwrite:
        kept = keep_earlier(paths)
        if kept:
            logging.getLogger(__name__).info(f"The earlier report is kept as {', '.join(map(str, kept))}")
    with atomic_write(paths[0]) as temporary:
        table.write(temporary)
    write_json(paths[1], json_numbers(summary))
    with atomic_write(paths[2]) as temporary:
        temporary.write_text(_page(name, table, volumes, organs, summary), encoding="utf-8")
    return summary


_FILES = (("scores", "csv"), ("summary", "json"), ("report", "html"))


def _page(
    name: str, table: ScoreTable, volumes: Sequence[ScoredVolume], organs: Sequence[str], summary: Mapping[str, Any]
) -> str:
    cards = [f'<div class="card"><b>{summary["volumes"]}</b><span>volumes</span></div>']
    cards += [
        f'<div class="card"><b>{html_number(value)}</b><span>mean {_TITLES[score]}</span></div>'
        for score, value in summary["mean"].items()
    ]
    facts = {key: summary[key] for key in ("checkpoint", "class_names", "failed") if summary.get(key)}
    failed = facts.pop("failed", {})
    rules = {**summary["rules"], **facts}
    lines = [f"<li>{html_text(path)}: {html_text(reason)}</li>" for path, reason in failed.items()]
    items = "".join(f"<dt>{html_text(key).replace('_', ' ')}</dt><dd>{html_text(rules[key])}</dd>" for key in rules)
    return html_page(
        f"Scores of volumes: {name}",
        [
            f'<div class="cards">{"".join(cards)}</div>\n',
            html_section("failed", "Not scored", f"<ul>{''.join(lines)}</ul>" if lines else ""),
            html_section("organs", "By organ", _organ_table(organs, summary)),
            html_section("volumes", "Volumes", _figures(volumes, organs)),
            html_section("images", "Every organ of every volume", _rows(table)),
            html_section("rules", "How this was computed", f"<dl>{items}</dl>"),
        ],
    )


def _organ_table(organs: Sequence[str], summary: Mapping[str, Any]) -> str:
    rows = []
    for organ in organs:
        scores = summary["organs"][organ]
        cells = "".join(
            f"<td>{html_number(scores[name]['mean'])}<small>{html_interval(scores[name])}</small></td>"
            for name in VOLUME_SCORES
        )
        rows.append(f"<tr><th scope='row'>{html_text(organ)}</th>{cells}</tr>")
    means = "".join(f"<td>{html_number(summary['mean'][name])}</td>" for name in VOLUME_SCORES)
    rows.append(f"<tr><th scope='row'>mean over organs</th>{means}</tr>")
    note = "<p class='note'>Means over volumes, with their 95 % intervals by bootstrap over volumes.</p>"
    return html_table(("Organ", *(_TITLES[name] for name in VOLUME_SCORES)), rows) + note


def _figures(volumes: Sequence[ScoredVolume], organs: Sequence[str]) -> str:
    drawn = [volume for volume in volumes if volume.pictures]
    if not drawn:
        return ""
    colors = class_colors(len(organs) + 1)[1:].tolist()
    keys = " ".join(
        f'<span style="color: rgb({", ".join(map(str, color))})">&#9632;</span> {html_text(organ)}'
        for organ, color in zip(organs, colors, strict=True)
    )
    figures = []
    for volume in drawn:
        pictures = "".join(
            f'<img src="{jpeg_uri(picture)}" alt="{plane} cut of {html_text(volume.name)}">'
            for plane, picture in zip(PLANES, volume.pictures, strict=True)
        )
        dice = " &middot; ".join(
            f"{html_text(organ)} <b>{html_number(scores.dice)}</b>"
            for organ, scores in zip(organs, volume.scores, strict=True)
        )
        figures.append(
            f'<figure class="case"><div class="pair">{pictures}</div><figcaption><b class="file">'
            f"{html_text(volume.name)}</b><br>Dice: {dice}</figcaption></figure>"
        )
    note = (
        f"<p class='note'>{keys}. Tints: prediction; lines: label. Of the axial, coronal and sagittal cuts those "
        "with the most organs; the patient's right is on the left, the front is up or on the left.</p>"
    )
    return f'{note}<div class="cases wide">{"".join(figures)}</div>'


def _rows(table: ScoreTable) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{title}</button></th>'
        for title in ("Volume and organ", *(_TITLES[name] for name in VOLUME_SCORES))
    )
    rows = []
    for row, file in enumerate(table.files):
        cells = "".join(
            f'<td data-value="{float(values[row])!r}">{html_number(float(values[row]))}</td>'
            for values in table.scores.values()
        )
        rows.append(f'<tr><th scope="row">{html_text(file)}</th>{cells}</tr>')
    return (
        '<label class="filter">Show <input type="search" id="filter" autocomplete="off"></label><div class="scroll">'
        f'<table id="per-image" class="sortable"><thead><tr>{heads}</tr></thead><tbody>\n{chr(10).join(rows)}\n'
        "</tbody></table></div>"
    )


def _fullest_cut(labels: np.ndarray, axis: int) -> int:
    """The index along an axis with the most organs, then the most of them; the middle if there are none."""
    others = tuple(i for i in range(3) if i != axis)
    numbers = [number for number in np.unique(labels) if number]
    if not numbers:
        return labels.shape[axis] // 2
    sizes = np.stack([np.count_nonzero(labels == number, axis=others) for number in numbers])
    return int(np.lexsort((sizes.sum(axis=0), np.count_nonzero(sizes, axis=0)))[-1])


def _draw(cuts: Sequence[np.ndarray | None], steps: Sequence[float], side: int) -> np.ndarray:
    image, pred, label = cuts
    assert pred is not None and label is not None
    extent = np.multiply(label.shape, steps)
    height, width = (max(1, round(side * length / extent.max())) for length in extent)
    grey = np.zeros(label.shape, dtype=np.float32) if image is None else window_ct(image)
    resized = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR)
    pred, label = (
        np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
        for mask in (pred, label)
    )
    picture = draw_classes(pred, np.asarray(resized), opacity=0.45)
    colors = class_colors(int(label.max()) + 1)
    for number in np.unique(label[label > 0]):
        picture[find_boundaries(label == number, mode="inner")] = colors[number]
    return picture
