"""Files of a report: table, summary and page, written whole, and never over those of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import json_numbers
from condseg_monai.utils.files import atomic_write, write_json

__all__ = ["ReportFiles"]


class ReportFiles:
    """``scores_{name}.csv``, ``summary_{name}.json``, ``report_{name}.html`` and ``failures_{name}.json``.

    ``overwrite`` replaces those of an earlier report; what this object has written, it may write again.
    """

    def __init__(self, save_dir: str | Path, name: str, overwrite: bool = False) -> None:
        folder, self.overwrite = Path(save_dir), overwrite
        self.table = folder / f"scores_{name}.csv"
        self.summary = folder / f"summary_{name}.json"
        self.page = folder / f"report_{name}.html"
        self.failures = folder / f"failures_{name}.json"

    def refuse_earlier(self) -> None:
        """Raise ``FileExistsError`` if there is one of the files, unless ``overwrite``."""
        for path in (self.table, self.summary, self.page, self.failures):
            if path.exists() and not self.overwrite:
                raise FileExistsError(
                    f"{path} is of an earlier report: give another --output_dir, or --overwrite true to replace it"
                )

    def write(self, table: ScoreTable, summary: Mapping[str, Any], page: str, failed: Sequence[Any] = ()) -> None:
        """Write the first three, and ``failures_{name}.json`` if there is something that could not be scored.

        Raises:
            FileExistsError: if another process has written one since :meth:`refuse_earlier`, unless ``overwrite``.
        """
        self.refuse_earlier()
        with atomic_write(self.table) as temporary:
            table.write(temporary)
        write_json(self.summary, json_numbers(summary))
        with atomic_write(self.page) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="replace")
        if failed:
            write_json(self.failures, {"scored": len(table), "failed": failed})
        else:
            self.failures.unlink(missing_ok=True)  # of the report that is replaced
        self.overwrite = True  # an evaluator may run again, as a federated client's does each round
