from __future__ import annotations

import numpy as np
import pytest

from condseg_monai.reports.score_table import ScoreTable


@pytest.fixture
def table() -> ScoreTable:
    """Six images; one without a lesion, one without a distance."""
    dice = np.array([0.9, 0.5, 1.0, 0.0, 0.7, 0.8])
    return ScoreTable(
        ["b 10.png", "b 2.png", "é<i>&.jpg", "c.png", "d.png", "e.png"],
        {
            "mean_iou": dice / (2 - dice),
            "mean_dice_original": dice,
            "hd95_original": np.array([2.0, 9.5, 0.0, np.nan, np.inf, 3.0]),
        },
        {
            "height": np.full(6, 40.0),
            "width": np.full(6, 36.0),
            "label_share": np.array([0.04, 0.05, 0.0, 0.2, 0.5, 0.1]),
        },
    )
