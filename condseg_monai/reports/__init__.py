"""What an evaluation is read as: a table, a summary, a page, and a comparison with another."""

from condseg_monai.reports.compare import compare_scores, find_score_tables
from condseg_monai.reports.html_report import CasePicture, html_report, score_title
from condseg_monai.reports.original_label import OriginalLabeld
from condseg_monai.reports.pictures import case_overlay, histogram_svg, jpeg_uri, uncertainty_map
from condseg_monai.reports.score_table import IMAGE_COLUMNS, ScoreTable, is_lower_better
from condseg_monai.reports.score_volumes import pair_volumes, score_volumes
from condseg_monai.reports.summary import SIZE_LIMITS, json_numbers, size_groups, summarize_scores, summarize_sizes
from condseg_monai.reports.volume_report import (
    PLANES,
    ScoredVolume,
    draw_planes,
    summarize_volumes,
    write_volume_report,
)

__all__ = [
    "IMAGE_COLUMNS",
    "PLANES",
    "SIZE_LIMITS",
    "CasePicture",
    "OriginalLabeld",
    "ScoreTable",
    "ScoredVolume",
    "case_overlay",
    "compare_scores",
    "draw_planes",
    "find_score_tables",
    "histogram_svg",
    "html_report",
    "is_lower_better",
    "jpeg_uri",
    "json_numbers",
    "pair_volumes",
    "score_title",
    "score_volumes",
    "size_groups",
    "summarize_scores",
    "summarize_sizes",
    "summarize_volumes",
    "uncertainty_map",
    "write_volume_report",
]
