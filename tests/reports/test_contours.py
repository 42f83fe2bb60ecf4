import itertools
import json

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Polygon
from monai.data import MetaTensor

from condseg_monai.reports.contours import SaveContoursd, mask_polygons, write_contours

RING = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 0, 0, 1, 0], [0, 1, 1, 1, 1, 0]], dtype=bool)


def filled(polygons: list, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies in an odd number of rings of a polygon, by matplotlib."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    points = np.stack((x.ravel(), y.ravel()), axis=1)
    mask = np.zeros(x.size, dtype=bool)
    for rings in polygons:
        mask |= sum(Polygon(ring).contains_points(points).astype(int) for ring in rings) % 2 == 1
    return mask.reshape(shape)


def signed_area(ring: list) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) / 2


def test_one_pixel_is_the_square_to_the_right_of_and_below_its_index():
    mask = np.zeros((4, 8), dtype=bool)
    mask[2, 5] = True
    assert mask_polygons(mask) == [[[(6, 2), (6, 3), (5, 3), (5, 2), (6, 2)]]]


def test_hole_is_a_ring_of_its_own_and_corners_are_where_it_turns():
    (rings,) = mask_polygons(RING)
    outer, hole = ({*ring} for ring in rings)
    assert outer == {(1, 1), (5, 1), (5, 4), (1, 4)} and hole == {(2, 2), (4, 2), (4, 3), (2, 3)}
    assert signed_area(rings[0]) == 12 and signed_area(rings[1]) == -2


def test_pixels_that_touch_by_a_corner_are_two_polygons():
    assert len(mask_polygons(np.eye(2, dtype=bool))) == 2


def test_part_that_meets_itself_at_a_corner_is_valid():
    """The hole touches the outer ring there; neither meets itself."""
    mask = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]], dtype=bool)
    (rings,) = mask_polygons(mask)
    assert len(rings) == 2 and all(len({*ring}) == len(ring) - 1 for ring in rings)
    np.testing.assert_array_equal(filled([rings], mask.shape), mask)


def test_polygons_of_any_mask_cover_its_pixels_and_no_others():
    rng = np.random.default_rng(0)
    for _ in range(100):
        mask = rng.random(rng.integers(1, 12, 2)) < rng.uniform(0.2, 0.9)
        polygons = mask_polygons(mask)
        np.testing.assert_array_equal(filled(polygons, mask.shape), mask)
        assert sum(signed_area(ring) for rings in polygons for ring in rings) == mask.sum()
        for rings in polygons:
            assert signed_area(rings[0]) > 0 and all(signed_area(ring) < 0 for ring in rings[1:])
            assert all(ring[0] == ring[-1] and len({*ring}) == len(ring) - 1 for ring in rings)


def test_empty_and_full_masks():
    assert mask_polygons(np.zeros((3, 4), dtype=bool)) == []
    assert mask_polygons(np.ones((3, 4), dtype=bool)) == [[[(4, 0), (4, 3), (0, 3), (0, 0), (4, 0)]]]


def test_file_has_what_qupath_reads(tmp_path):
    """An annotation for each part, with the name and the colour of its class."""
    mask = np.zeros((5, 7), np.uint8)
    mask[0, 0], mask[0, 6], mask[3:, 2:4] = 1, 1, 2
    write_contours(tmp_path / "a.geojson", mask, ("background", "polyp", "tool, é"))
    content = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    names = [feature["properties"]["classification"]["name"] for feature in content["features"]]
    assert names == ["polyp", "polyp", "tool, é"]
    for feature in content["features"]:
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        assert feature["properties"]["objectType"] == "annotation"
        color = feature["properties"]["classification"]["color"]
        assert len(color) == 3 and all(type(value) is int and 0 <= value <= 255 for value in color)
    tool = [[*map(tuple, ring)] for ring in content["features"][2]["geometry"]["coordinates"]]
    np.testing.assert_array_equal(filled([tool], mask.shape), mask == 2)


@pytest.mark.parametrize("name", [None, "day 2/scan"])
def test_transform_writes_once_under_the_name_of_the_case(tmp_path, name):
    mask = MetaTensor(torch.from_numpy(RING[None].astype(np.float32)), meta={"filename_or_obj": "in/scan.png"})
    case = {"pred": mask} | ({"name": name} if name else {})
    save = SaveContoursd("pred", tmp_path, ("background", "lesion"))
    save(case)
    path = tmp_path / f"{name or 'scan'}.geojson"
    (feature,) = json.loads(path.read_text())["features"]
    assert feature["properties"]["classification"] == {"name": "lesion", "color": [0, 229, 255]}
    path.write_text("kept")
    save(case)
    assert path.read_text() == "kept"
