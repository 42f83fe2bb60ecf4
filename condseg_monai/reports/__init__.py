"""Reports: drawings, score tables, summaries, HTML pages, and comparison of evaluations."""

from condseg_monai.reports.curves import draw_curves, run_and_draw
from condseg_monai.reports.overlay import DrawOverlayd
from condseg_monai.reports.panels import RegionPanel, ViewPanel
from condseg_monai.reports.score_report import ScoreReport

__all__ = ["DrawOverlayd", "RegionPanel", "ScoreReport", "ViewPanel", "draw_curves", "run_and_draw"]
