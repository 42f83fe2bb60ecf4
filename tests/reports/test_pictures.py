import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from condseg_monai.reports.pictures import case_overlay, histogram_svg, jpeg_uri, uncertainty_map


def bars_of(svg):
    root = ElementTree.fromstring(svg)
    return root, [float(bar.get("height")) for bar in root.iter("rect")]


def test_bars_are_as_tall_as_their_counts():
    root, heights = bars_of(histogram_svg([0.1, 0.1, 0.1, 0.6, 1.0], "Dice", bins=4))
    assert heights == pytest.approx([120, 0, 40, 40])
    assert root.get("aria-label") == "Dice"
    assert [title.text for title in root.iter("title")][:2] == ["0 to 0.25: 3", "0.25 to 0.5: 0"]


def test_values_beyond_the_ends_count_in_the_outer_bars_and_infinite_ones_nowhere():
    _, heights = bars_of(histogram_svg([-1, 5, 7, np.nan, np.inf], "x", limits=(0, 2), bins=2))
    assert heights == pytest.approx([60, 120])


def test_no_values_give_an_empty_histogram():
    root, heights = bars_of(histogram_svg([], "nothing"))
    assert set(heights) == {0}
    assert not list(root.iter("line"))


def test_large_image_is_shrunk_in_its_proportions_and_keeps_both_contours():
    image = np.full((300, 600, 3), 90, dtype=np.uint8)
    label, pred = np.zeros((300, 600), bool), np.zeros((300, 600), bool)
    label[60:200, 100:300] = True
    pred[100:240, 200:500] = True
    overlay = case_overlay(image, pred, label, side=200)
    assert overlay.shape == (100, 200, 3)
    for colour in ((255, 221, 0), (0, 229, 255)):
        assert (overlay == colour).all(axis=-1).any()


def test_small_image_is_not_enlarged():
    empty = np.zeros((20, 30), bool)
    image = np.arange(20 * 30 * 3, dtype=np.float32).reshape(20, 30, 3) % 256
    np.testing.assert_array_equal(case_overlay(image, empty, empty), image.astype(np.uint8))


def test_uncertainty_takes_the_proportions_of_the_image():
    values = np.zeros((8, 8))
    values[:4] = 1
    picture = uncertainty_map(values, (30, 60), side=40)
    assert picture.shape == (20, 40, 3)
    assert picture[0].mean() > 150 > picture[-1].mean()


def test_address_holds_the_picture():
    picture = np.full((6, 9, 3), (200, 30, 60), dtype=np.uint8)
    head, content = jpeg_uri(picture).split(",")
    assert head == "data:image/jpeg;base64"
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    np.testing.assert_allclose(decoded, picture, atol=6)
