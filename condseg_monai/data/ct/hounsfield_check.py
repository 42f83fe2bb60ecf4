"""Transform that refuses volumes whose values are no Hounsfield units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import MapTransform

from condseg_monai.data.ct.volume import Volume, check_hounsfield

__all__ = ["CheckHounsfieldd"]


class CheckHounsfieldd(MapTransform):
    """Refuse volumes that hold NaN, or no Hounsfield units of a body; see
    :func:`~condseg_monai.data.ct.volume.check_hounsfield`.

    Args:
        keys: volumes ``(1, I, J, K)``.
        allow_missing_keys: leave out keys that are not there.

    Raises:
        ValueError: when called, naming the file if it is known.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check the entries, and return them as they are."""
        for key in self.key_iterator(dict(data)):
            image = data[key]
            path = Path(str(getattr(image, "meta", {}).get("filename_or_obj", "the volume")))
            check_hounsfield(Volume(path, np.asarray(image[0].cpu()), np.eye(4)))
        return dict(data)
