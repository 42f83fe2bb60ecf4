"""HTML pages from jinja2 templates: one self-contained file each, which loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from condseg_monai.reports.score_table import is_lower_better

__all__ = ["format_fact", "format_number", "format_percent", "pooled_name", "render_page", "score_title"]

_TITLES = {
    "iou": "IoU",
    "f2": "F2",
    "hd95": "HD95",
    "asd": "Surface distance",
    "s_measure": "S-measure",
    "e_measure": "E-measure",
    "weighted_f": "Weighted F",
    "mae": "MAE",
    "swept_dice": "Dice, 256 thresholds",
    "swept_iou": "IoU, 256 thresholds",
    "hd95_mm": "HD95, mm",
    "transunet_dice": "Dice, TransUNet's rule",
    "transunet_hd95_voxels": "HD95, TransUNet's rule, voxels",
}


def render_page(template: str, title: str, **content: Any) -> str:
    """Render a template of ``reports/templates`` as one HTML file; text from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("condseg_monai.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=format_number,
        interval=_format_interval,
        percent=format_percent,
        title=score_title,
        pooled=pooled_name,
        words=_words,
        fact=format_fact,
    )
    environment.tests["lower_better"] = is_lower_better
    return environment.get_template(template).render(title=title, **content)


def score_title(score: str) -> str:
    """The field's name of a score: ``mean_dice_original`` is Dice."""
    plain = score.removeprefix("mean_").removeprefix("pooled_").removesuffix("_original")
    kind, _, class_name = plain.partition("_")
    if plain not in _TITLES and kind in _TITLES:
        return f"{_TITLES[kind]} {class_name.replace('_', ' ')}"
    return _TITLES.get(plain, plain.replace("_", " ").capitalize())


def pooled_name(score: str) -> str:
    """The name of a score when it is pooled: ``mean_iou_original`` gives ``pooled_iou_original``."""
    return f"pooled_{score.removeprefix('mean_')}"


def format_number(value: float | None) -> str:
    """A number with four decimals, or a dash for none."""
    if value is None or math.isnan(value):
        return "\u2013"
    if math.isinf(value):
        return "\u221e"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def format_percent(share: float, decimals: int = 1) -> str:
    """A share as a percentage."""
    return f"{share:.{decimals}%}"


def format_fact(value: Any) -> str:
    """A value of a summary or model card in words, as a person reads it.

    Example:
        >>> format_fact({"image_size": 256, "class_names": ["background", "lesion"], "anti_aliasing": True})
        'image size 256, class names background, lesion, anti aliasing yes'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {format_fact(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(format_fact, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _format_interval(interval: Sequence[float] | None) -> str:
    return "\u2013" if interval is None else f"{format_number(interval[0])} to {format_number(interval[1])}"
