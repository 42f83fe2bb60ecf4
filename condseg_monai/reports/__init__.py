"""Reports: drawings, score tables, summaries, HTML pages, and comparison of evaluations."""

from condseg_monai.reports.comparison import compare_scores, find_score_tables
from condseg_monai.reports.drawing import class_colors, contact_sheet, draw_classes, draw_heat_map, draw_overlay
from condseg_monai.reports.evaluation_page import CasePicture, html_report, score_title
from condseg_monai.reports.overlay import DrawOverlayd
from condseg_monai.reports.panels import RegionPanel, ViewPanel
from condseg_monai.reports.pictures import case_overlay, histogram_svg, jpeg_uri, uncertainty_map
from condseg_monai.reports.score_report import ScoreReport
from condseg_monai.reports.score_table import IMAGE_COLUMNS, ScoreTable, is_lower_better
from condseg_monai.reports.summary import SIZE_LIMITS, json_numbers, size_groups, summarize_scores, summarize_sizes
from condseg_monai.reports.volume_report import (
    PLANES,
    ScoredVolume,
    draw_planes,
    summarize_volumes,
    write_volume_report,
)
from condseg_monai.reports.volume_scoring import pair_volumes, score_volumes

__all__ = [
    "IMAGE_COLUMNS",
    "PLANES",
    "SIZE_LIMITS",
    "CasePicture",
    "DrawOverlayd",
    "RegionPanel",
    "ScoreReport",
    "ScoreTable",
    "ScoredVolume",
    "ViewPanel",
    "case_overlay",
    "class_colors",
    "compare_scores",
    "contact_sheet",
    "draw_classes",
    "draw_heat_map",
    "draw_overlay",
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
