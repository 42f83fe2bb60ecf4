"""Files of a comparison of evaluations: tables to paste, and an HTML page with the intervals drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condseg_monai.reports.pages import render_page, score_title
from condseg_monai.utils.files import atomic_write
from condseg_monai.utils.text_tables import csv_table, latex_table, markdown_table

__all__ = ["write_comparison"]

_HEADS = (
    "score",
    "evaluation",
    "mean",
    "95 % interval",
    "less that of A",
    "its 95 % interval",
    "p (Wilcoxon)",
    "images",
)


def write_comparison(
    results: Sequence[Mapping[str, Any]], output_dir: Path, overwrite: bool = False
) -> dict[str, Path]:
    """Write ``comparison.html``, ``comparison.md``, ``comparison.csv`` and ``comparison.tex``.

    Args:
        results: of :func:`~condseg_monai.reports.comparison.compare_evaluations`, all with the same A.
        output_dir: where the files go.
        overwrite: replace those of an earlier comparison.

    Returns:
        The files by their ending.

    Raises:
        FileExistsError: if one of them exists, unless ``overwrite``.
    """
    files = {kind: output_dir / f"comparison.{kind}" for kind in ("html", "md", "csv", "tex")}
    if not overwrite and (earlier := [path for path in files.values() if path.exists()]):
        raise FileExistsError(f"{earlier[0]} is of an earlier comparison: give another --output_dir, or --overwrite")
    rows = _rows(results)
    cells = [_HEADS, *(_cells(row) for row in rows)]
    tables = (("md", markdown_table), ("csv", csv_table), ("tex", latex_table))
    texts = {
        "html": _page(results, rows),
        **{kind: f"{write(cells)}\n" for kind, write in tables},
    }
    for kind, path in files.items():
        with atomic_write(path) as temporary:
            temporary.write_text(texts[kind], encoding="utf-8", errors="replace")
    return files


def _rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Score by score, A and each other evaluation: its mean and how it differs from A.

    A stands before each evaluation that is compared with it on other images than the one before.
    """
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for result in results for name in result["scores"]):
        shown = None
        for number, result in enumerate(results):
            score = result["scores"].get(name)
            if score is None:
                continue
            known = {"score": name, "images": score["images"], "lower_is_better": score["lower_is_better"]}
            row = {**known, "letter": "A", "mean": score["mean_a"], "interval": score["interval_a"]}
            if row != shown:
                rows.append({**row, "difference": None, "difference_interval": None, "p": None})
                shown = row
            rows.append(
                {
                    **known,
                    "letter": chr(ord("B") + number),
                    "mean": score["mean_b"],
                    "interval": score["interval_b"],
                    "difference": score["difference"],
                    "difference_interval": score["interval_95"],
                    "p": score["p_wilcoxon"],
                }
            )
    return rows


def _left_out(result: Mapping[str, Any]) -> list[str]:
    if not (files := sorted(file for only in result["left_out"].values() for file in only)):
        return []
    return [f"{len(files)} images are left out, for which one of the two has no scores: {', '.join(files)}"]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    def interval(ends: Sequence[float] | None, sign: str = "") -> str:
        return "" if ends is None else f"{ends[0]:{sign}.4f} to {ends[1]:{sign}.4f}"

    return (
        row["score"],
        row["letter"],
        "" if row["mean"] is None else f"{row['mean']:.4f}",
        interval(row["interval"]),
        "" if row["difference"] is None else f"{row['difference']:+.4f}",
        interval(row["difference_interval"], "+"),
        "" if row["p"] is None else f"{row['p']:.2g}",
        str(row["images"]),
    )


def _page(results: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    evaluations = [("A", results[0]["a"]), *((chr(ord("B") + i), result["b"]) for i, result in enumerate(results))]
    notes = [
        (chr(ord("B") + i), note) for i, result in enumerate(results) for note in (*_left_out(result), *result["notes"])
    ]
    charts = []
    for name in dict.fromkeys(row["score"] for row in rows if row["interval"] is not None):
        lines = [row for row in rows if row["score"] == name and row["interval"] is not None]
        low, high = min(row["interval"][0] for row in lines), max(row["interval"][1] for row in lines)
        width = (high - low) or 1.0
        marks = [
            (row["letter"], *((value - low) / width for value in (row["interval"][0], row["mean"], row["interval"][1])))
            for row in lines
        ]
        charts.append({"name": name, "title": score_title(name), "low": low, "high": high, "marks": marks})
    return render_page(
        "comparison.html",
        "Comparison of evaluations",
        evaluations=evaluations,
        notes=notes,
        charts=charts,
        heads=_HEADS,
        rows=[(row, _cells(row)) for row in rows],
    )
