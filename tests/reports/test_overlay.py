"""Overlay transform."""

import numpy as np
import torch
from monai.data import MetaTensor

from condseg_monai.reports.overlay import DrawOverlayd


def test_overlay_is_drawn_on_the_picture_and_keeps_the_metadata():
    colours = torch.randint(0, 100, (3, 20, 30)).float() + 0.4  # as 16-bit files have them
    mask = torch.zeros(1, 20, 30)
    mask[:, 5:10, 10:25] = 1
    data = {"pred": MetaTensor(mask, meta={"filename_or_obj": "a.png"}), "picture": colours}
    result = DrawOverlayd("pred")(data)["overlay"]
    assert result.dtype == torch.uint8 and result.meta["filename_or_obj"] == "a.png"
    changed = (result.as_tensor() != colours.round()).any(dim=0).numpy()
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 9, 10, 24)
