"""Contours of masks as GeoJSON, for QuPath and other programs that take polygons."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy.ndimage import find_objects, label

from condseg_monai.inference.predictions import output_name
from condseg_monai.reports.drawing import PREDICTION_COLOR
from condseg_monai.utils.files import atomic_write
from condseg_monai.utils.palette import class_colors

__all__ = ["SaveContoursd", "mask_polygons", "write_contours"]

Ring = list[tuple[int, int]]


class SaveContoursd(MapTransform):
    """Save the contours of a mask as GeoJSON, by :func:`write_contours`; a file that is there stays.

    Args:
        keys: of the mask, ``(1, H, W)`` class numbers, whose metadata have the image's file.
        output_dir: the folder of the files, each called as the image.
        class_names: background first.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | os.PathLike[str], class_names: Sequence[str]) -> None:
        super().__init__(keys)
        self.output_dir, self.class_names = Path(output_dir), tuple(class_names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save and return ``data``."""
        for key in self.key_iterator(dict(data)):
            path = self.output_dir / f"{output_name(data, key)}.geojson"
            if not path.exists():
                write_contours(path, np.asarray(data[key].cpu())[0], self.class_names)
        return dict(data)


def write_contours(path: str | os.PathLike[str], mask: np.ndarray, class_names: Sequence[str]) -> None:
    """Write a FeatureCollection with an annotation for each connected part of each class; atomic.

    Coordinates are pixels of the image, x to the right and y down from its top left corner, where QuPath has its
    origin too: pixel (row 2, column 5) is the square from (5, 2) to (6, 3). Annotations are classified by the name of
    their class, in the colour that it has in overlays.

    Args:
        path: of the file.
        mask: class numbers ``(H, W)``.
        class_names: background first.
    """
    colors = [(0, 0, 0), PREDICTION_COLOR] if len(class_names) == 2 else class_colors(len(class_names)).tolist()
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": polygon},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": list(colors[number])},
            },
        }
        for number, name in enumerate(class_names)
        if number
        for polygon in mask_polygons(mask == number)
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def mask_polygons(mask: np.ndarray) -> list[list[Ring]]:
    """Polygons along the edges of the pixels of a binary mask ``(H, W)``, one for each part connected by sides.

    A polygon is a list of closed rings of corners ``(x, y)``, the outer one first, counterclockwise as GeoJSON wants
    it where y points up, then its holes, clockwise. A ring has a corner only where it turns, and meets neither itself
    nor another along a side, so that the polygons are valid and cover exactly the pixels of the mask.

    Example:
        >>> mask_polygons(np.array([[False, True]]))
        [[[(2, 0), (2, 1), (1, 1), (1, 0), (2, 0)]]]
    """
    parts, _ = label(mask)
    polygons = []
    for number, box in enumerate(find_objects(parts), 1):
        top, left = box[0].start, box[1].start
        rings = sorted(_rings(parts[box] == number), key=_area, reverse=True)  # holes have negative areas
        polygons.append([[(x + left, y + top) for x, y in ring] for ring in rings])
    return polygons


def _rings(part: np.ndarray) -> Iterator[Ring]:
    """Closed rings along the sides of pixels, with the part to the right of who walks along them in an image."""
    padded = np.pad(part, 1)
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}  # from each corner, where sides lead
    for way, neighbour, (ox, oy) in _SIDES:
        beside = np.roll(padded, (-neighbour[0], -neighbour[1]), (0, 1))
        for y, x in np.argwhere(padded & ~beside).tolist():
            ways.setdefault((x - 1 + ox, y - 1 + oy), []).append(way)
    unused = {(corner, way): None for corner, leading in ways.items() for way in leading}
    while unused:
        side = start = next(iter(unused))
        ring: Ring = []
        while side != start or not ring:
            corner, way = side
            unused.pop(side, None)
            corner = corner[0] + way[0], corner[1] + way[1]
            leading = ways[corner]
            # where two pixels touch by a corner, to the left: around the background, which is apart there
            following = leading[0] if len(leading) == 1 else (way[1], -way[0])
            if following != way:
                ring.append(corner)
            side = corner, following
        yield [*ring, ring[0]]


_SIDES = (
    # the way along a side, (x, y); the neighbour that must be background, (row, column); the corner where it begins
    ((1, 0), (-1, 0), (0, 0)),
    ((0, 1), (0, 1), (1, 0)),
    ((-1, 0), (1, 0), (1, 1)),
    ((0, -1), (0, -1), (0, 1)),
)


def _area(ring: Ring) -> float:
    x, y = np.array(ring).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)
