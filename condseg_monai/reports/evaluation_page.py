"""An evaluation as one page: no other file, no network, opens anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from condseg_monai.reports.html_parts import (
    html_interval,
    html_number,
    html_page,
    html_section,
    html_table,
    html_text,
)
from condseg_monai.reports.pictures import histogram_svg
from condseg_monai.reports.score_table import ScoreTable, is_lower_better
from condseg_monai.reports.summary import SIZE_LIMITS

__all__ = ["CasePicture", "html_report", "score_title"]

_TITLES = {
    "iou": "IoU",
    "dice": "Dice",
    "recall": "Recall",
    "precision": "Precision",
    "accuracy": "Accuracy",
    "f2": "F2",
    "specificity": "Specificity",
    "hd95": "HD95",
    "asd": "Surface distance",
    "s_measure": "S-measure",
    "e_measure": "E-measure",
    "weighted_f": "Weighted F",
    "mae": "MAE",
    "swept_dice": "Dice, 256 thresholds",
}
_GROUP_SCORES = ("val_mean_iou", "val_mean_dice", "val_recall", "val_precision", "val_hd95", "val_asd")


@dataclass(frozen=True)
class CasePicture:
    """One image with its contours, for the page."""

    file: str
    overlay: str
    """Address of the picture, as :func:`~condseg_monai.reports.jpeg_uri` makes it."""
    uncertainty: str | None = None
    """Address of the uncertainty map; None if the network has none."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Further facts for the caption."""


def html_report(
    title: str,
    table: ScoreTable,
    summary: Mapping[str, Any],
    worst: Sequence[CasePicture] = (),
    best: Sequence[CasePicture] = (),
    ranked_by: str | None = None,
) -> str:
    """Write the page of one evaluation.

    Args:
        title: heading of the page.
        table: scores of every image.
        summary: what ``summary_*.json`` holds: ``images``, ``scores``, and where there are some ``failed``,
            ``pooled``, ``subgroups``, ``rules`` and conditions.
        worst: pictures of the worst images, worst first.
        best: pictures of the best images, best first.
        ranked_by: the score that says which are worst and best.

    Returns:
        The text of an HTML file. It loads nothing, and a browser that obeys its content policy could not.
    """
    sections = [
        _headline(summary),
        html_section("failed", "Not scored", _failures(summary)),
        html_section("scores", "Scores", _score_table(summary)),
        html_section("histograms", "Distribution over images", _histograms(table)),
        html_section("sizes", "By size of the lesion", _size_table(summary)),
        html_section("worst", "Worst images", _cases(table, worst, ranked_by)),
        html_section("best", "Best images", _cases(table, best, ranked_by)),
        html_section("images", f"All {len(table)} images", _image_table(table)),
        html_section("rules", "How this was computed", _rules(summary)),
    ]
    return html_page(title, sections)


def score_title(score: str) -> str:
    """What people call a score: ``val_mean_dice_original`` is Dice."""
    plain = score.removeprefix("val_").removeprefix("mean_").removeprefix("pooled_").removesuffix("_original")
    return _TITLES.get(plain, plain.replace("_", " "))


def _headline(summary: Mapping[str, Any]) -> str:
    scores = summary["scores"]
    cards = [f'<div class="card"><b>{summary["images"]}</b><span>images</span></div>']
    for name in ("val_mean_iou", "val_mean_dice", "val_mean_iou_original", "val_mean_dice_original"):
        if name in scores:
            size = "original size" if name.endswith("_original") else "model size"
            cards.append(
                f'<div class="card"><b>{html_number(scores[name]["mean"])}</b>'
                f"<span>mean {score_title(name)}, {size}</span><small>{html_interval(scores[name])}</small></div>"
            )
    if summary.get("failed"):
        number = len(summary["failed"])
        cards.append(f'<div class="card bad"><b>{number}</b><span>problems: not all scored</span></div>')
    facts = [f"{name.replace('_', ' ')} <b>{html_text(summary[name])}</b>" for name in _CONDITIONS if name in summary]
    return f'<p class="facts">{" &middot; ".join(facts)}</p>\n<div class="cards">{"".join(cards)}</div>\n'


_CONDITIONS = (
    "split",
    "image_size",
    "normalization",
    "mask_threshold",
    "checkpoint",
    "missed_images_original",
    "false_alarm_images_original",
)


def _failures(summary: Mapping[str, Any]) -> str:
    problems = summary.get("failed", [])
    if not problems:
        return ""
    items = "".join(f"<li>{html_text(problem['text'])}</li>" for problem in problems)
    return f"<p class='note'>These cases are on the list, but in none of the numbers below.</p><ul>{items}</ul>"


def _score_table(summary: Mapping[str, Any]) -> str:
    pooled = summary.get("pooled", {})
    rows = []
    for name, score in summary["scores"].items():
        direction = "lower is better" if is_lower_better(name) else ""
        rows.append(
            f"<tr><th scope='row'>{score_title(name)}<code>{html_text(name)}</code></th>"
            f"<td>{'original' if name.endswith('_original') else 'model'}</td><td>{html_number(score['mean'])}</td>"
            f"<td>{html_interval(score)}</td><td>{html_number(score['median'])}</td><td>{html_number(score['std'])}</td>"
            f"<td>{html_number(pooled.get(pooled_name(name)))}</td><td>{score['images']}</td><td>{direction}</td></tr>"
        )
    heads = ("Score", "Size", "Mean", "95 % interval", "Median", "Deviation", "Pooled", "Images", "")
    return html_table(heads, rows) + (
        "<p class='note'>Model size: as the network sees it, which is what papers report. Original size: probabilities "
        "interpolated back to the file's size, against the label as the file has it. Interval: of the mean, by "
        "bootstrap over images. Pooled: all pixels of all images counted as one image. Images: how many the mean is "
        "of.</p>"
    )


def pooled_name(score: str) -> str:
    """The name of a score when it is pooled: ``val_mean_iou_original`` gives ``val_pooled_iou_original``."""
    return f"val_pooled_{score.removeprefix('val_').removeprefix('mean_')}"


def _histograms(table: ScoreTable) -> str:
    original = [name for name in table.scores if name.endswith("_original")]
    figures = []
    for name in original or list(table.scores):
        values = table.scores[name]
        finite = values[np.isfinite(values)]
        if len(finite) == 0:
            continue
        in_unit = not is_lower_better(name) or "mae" in name.split("_")
        end = 1.0 if in_unit else max(1.0, float(math.ceil(finite.max())))
        left_out = len(values) - len(finite)
        note = f" ({left_out} without a finite value left out)" if left_out else ""
        svg = histogram_svg(values, f"Histogram of {score_title(name)}", (0.0, end))
        figures.append(f"<figure>{svg}<figcaption>{score_title(name)}{note}<code>{name}</code></figcaption></figure>")
    if not figures:
        return ""
    legend = '<p class="note"><i class="key mean"></i> mean <i class="key median"></i> median</p>'
    return f'<div class="grid">{"".join(figures)}</div>{legend}'


def _size_table(summary: Mapping[str, Any]) -> str:
    groups: Mapping[str, Any] = summary.get("subgroups", {})
    if not groups:
        return ""
    known = next(iter(groups.values()))["scores"]
    suffix = "_original" if any(name.endswith("_original") for name in known) else ""
    names = [name + suffix for name in _GROUP_SCORES if name + suffix in known]
    rows = []
    for group, content in groups.items():
        cells = "".join(
            f"<td>{html_number(content['scores'][name]['mean'])}<small>{html_interval(content['scores'][name])}</small></td>"
            for name in names
        )
        rows.append(f"<tr><th scope='row'>{group}</th><td>{content['images']}</td>{cells}</tr>")
    small, medium = summary.get("size_limits", SIZE_LIMITS)
    note = (
        f"<p class='note'>By the share of the image's pixels that the label calls lesion: small under {small:.0%}, "
        f"medium under {medium:.0%}, large from there; empty has none. Means, with their 95 % intervals"
        f"{', at original size' if suffix else ''}.</p>"
    )
    return html_table(("Lesion", "Images", *map(score_title, names)), rows) + note


def _cases(table: ScoreTable, cases: Sequence[CasePicture], ranked_by: str | None) -> str:
    if not cases:
        return ""
    row_of = {file: row for row, file in enumerate(table.files)}
    suffix = "_original" if any(name.endswith("_original") for name in table.scores) else ""
    figures = []
    for case in cases:
        row = row_of[case.file]
        facts = [
            f"{score_title(name)} <b>{html_number(table.scores[name][row])}</b>"
            for name in (f"val_mean_dice{suffix}", f"val_mean_iou{suffix}", f"val_hd95{suffix}")
            if name in table.scores
        ]
        if "label_share" in table.images:
            facts.append(f"lesion <b>{table.images['label_share'][row]:.1%}</b>")
        facts += [f"{html_text(key)} <b>{html_text(value)}</b>" for key, value in case.notes.items()]
        name = html_text(case.file)
        pictures = f'<img src="{case.overlay}" alt="Contours on {name}">'
        if case.uncertainty is not None:
            pictures += f'<img src="{case.uncertainty}" alt="Uncertainty of {name}">'
        figures.append(
            f'<figure class="case"><div class="pair">{pictures}</div><figcaption><b class="file">{name}</b>'
            f"<br>{' &middot; '.join(facts)}</figcaption></figure>"
        )
    uncertainty = ", beside it the probability of the uncertainty region, black is none" if cases[0].uncertainty else ""
    ranking = f" Ranked by <code>{html_text(ranked_by)}</code>." if ranked_by else ""
    legend = (
        f'<p class="note"><i class="key label"></i> label <i class="key prediction"></i> prediction{uncertainty}.'
        f"{ranking}</p>"
    )
    return f'{legend}<div class="cases">{"".join(figures)}</div>'


def _image_table(table: ScoreTable) -> str:
    columns = [("file", "File")]
    if "height" in table.images and "width" in table.images:
        columns += [("height", "Height"), ("width", "Width")]
    if "label_share" in table.images:
        columns.append(("label_share", "Lesion"))
    columns += [(name, score_title(name)) for name in table.scores]
    heads = "".join(
        f'<th scope="col" title="{html_text(name)}"><button type="button">{html_text(title)}'
        f"{'<small>original</small>' if name.endswith('_original') else ''}</button></th>"
        for name, title in columns
    )
    values = {**table.images, **table.scores}
    rows = []
    for row, file in enumerate(table.files):
        cells = "".join(_sortable_cell(name, float(values[name][row])) for name, _ in columns[1:])
        rows.append(f'<tr><th scope="row">{html_text(file)}</th>{cells}</tr>')
    return (
        '<p class="note">Click a heading to sort, again to turn the order round.</p>'
        '<label class="filter">Show files with <input type="search" id="filter" autocomplete="off"></label>'
        f'<div class="scroll"><table id="per-image" class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _sortable_cell(name: str, value: float) -> str:
    if name in ("height", "width"):
        shown = f"{value:.0f}"
    else:
        shown = f"{value:.1%}" if name == "label_share" else html_number(value)
    return f'<td data-value="{value!r}">{shown}</td>'


def _rules(summary: Mapping[str, Any]) -> str:
    shown = {"scores", "pooled", "subgroups", "rules", "images", "failed"}
    facts: dict[str, Any] = {key: value for key, value in summary.items() if key not in shown}
    facts.update(summary.get("rules", {}))
    items = "".join(
        f"<dt>{html_text(key).replace('_', ' ')}</dt><dd>{html_text(value)}</dd>" for key, value in facts.items()
    )
    return f"<dl>{items}</dl>" if items else ""
