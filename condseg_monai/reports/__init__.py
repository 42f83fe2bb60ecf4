"""Reports: drawings, score tables, summaries, HTML pages, and comparison of evaluations."""

from condseg_monai.reports.comparison import compare_scores
from condseg_monai.reports.drawing import draw_classes, draw_heat_map, draw_overlay
from condseg_monai.reports.overlay import DrawOverlayd
from condseg_monai.reports.panels import RegionPanel, ViewPanel
from condseg_monai.reports.score_report import ScoreReport
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.sheet import contact_sheet
from condseg_monai.reports.volume_scoring import score_volumes

__all__ = [
    "DrawOverlayd",
    "RegionPanel",
    "ScoreReport",
    "ScoreTable",
    "ViewPanel",
    "compare_scores",
    "contact_sheet",
    "draw_classes",
    "draw_heat_map",
    "draw_overlay",
    "score_volumes",
]
