"""Pictures: contours, colours, heat maps and contact sheets."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from condseg_monai.reports.drawing import (
    LABEL_COLOR,
    PREDICTION_COLOR,
    draw_case,
    draw_class_case,
    draw_class_overlay,
    draw_classes,
    draw_heat_map,
    draw_overlay,
    picture_uri,
)
from condseg_monai.reports.sheet import contact_sheet
from condseg_monai.utils.palette import class_colors


def pixels_of(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (picture == color).all(axis=-1)


def disc(size: tuple[int, int], centre: tuple[int, int], radius: int) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


class TestOverlay:
    image = np.full((60, 80, 3), 100, dtype=np.uint8)

    def test_prediction_and_label_have_their_own_contours(self):
        image, mask, label = self.image.copy(), disc((60, 80), (20, 20), 12), disc((60, 80), (35, 60), 15)
        picture = draw_overlay(image, mask, label, legend=False)
        np.testing.assert_array_equal(image, self.image)
        for region, color in ((mask, PREDICTION_COLOR), (label, LABEL_COLOR)):
            for drawn, expected in zip(np.nonzero(pixels_of(picture, color)), np.nonzero(region), strict=True):
                assert abs(drawn.min() - expected.min()) <= 1 and abs(drawn.max() - expected.max()) <= 1
        assert (picture[20, 20] == 100).all() and (picture[35, 60] == 100).all()

    @pytest.mark.parametrize("size", [80, 600])
    def test_both_are_equally_wide_side_by_side_where_they_agree(self, size):
        region = disc((size, size), (size // 2, size // 2), size // 3)
        picture = draw_overlay(np.zeros((size, size)), region, region, legend=False)
        prediction, label = pixels_of(picture, PREDICTION_COLOR), pixels_of(picture, LABEL_COLOR)
        assert prediction[region].sum() == prediction.sum() and not label[region].any()
        assert label.sum() == pytest.approx(prediction.sum(), rel=0.1) and prediction.sum() > 2 * size / 3

    @pytest.mark.parametrize("value", [0, 1])
    def test_empty_and_full_masks_have_no_contour(self, value):
        mask = np.full((60, 80), value)
        np.testing.assert_array_equal(draw_overlay(self.image, mask, mask, legend=False), self.image)

    def test_grey_and_float_images_are_drawn_in_colour(self):
        picture = draw_overlay(np.full((60, 80), 0.5), np.zeros((60, 80)), legend=False)
        assert picture.shape == (60, 80, 3) and picture.dtype == np.uint8 and (picture == 128).all()

    def test_legend_names_the_lines_if_there_is_room(self):
        large, nothing = np.zeros((300, 400, 3), dtype=np.uint8), np.zeros((300, 400))
        corner = draw_overlay(large, nothing, nothing)[240:, :120]
        assert pixels_of(corner, LABEL_COLOR).any() and pixels_of(corner, PREDICTION_COLOR).any()
        np.testing.assert_array_equal(draw_overlay(large, nothing), large)  # one line needs no name
        small, nothing = np.zeros((32, 32, 3), dtype=np.uint8), np.zeros((32, 32))
        np.testing.assert_array_equal(draw_overlay(small, nothing, nothing), small)

    @pytest.mark.parametrize(
        ("image", "mask", "message"),
        [
            (image, np.zeros((80, 60)), "mask must be of the image's size"),
            (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), "a picture"),
            (np.zeros((4, 4), np.int32), np.zeros((4, 4)), "a picture"),
            (np.full((4, 4), 200.0), np.zeros((4, 4)), "a picture"),
        ],
    )
    def test_wrong_sizes_and_types_raise(self, image, mask, message):
        with pytest.raises(ValueError, match=message):
            draw_overlay(image, mask)

    def test_case_is_reduced_in_its_proportions_and_keeps_both_contours(self):
        label, pred = np.zeros((300, 600), bool), np.zeros((300, 600), bool)
        label[60:200, 100:300] = pred[100:240, 200:500] = True
        overlay = draw_case(np.full((300, 600, 3), 90.0), pred, label, side=200)
        assert overlay.shape == (100, 200, 3)
        assert pixels_of(overlay, LABEL_COLOR).any() and pixels_of(overlay, PREDICTION_COLOR).any()
        small, empty = np.arange(20 * 30 * 3).reshape(20, 30, 3) % 256, np.zeros((20, 30), bool)
        assert draw_case(small.astype(float), empty, empty, side=90).shape == (60, 90, 3)


class TestHeatMap:
    def test_lightness_rises_evenly(self):
        lightness = rgb2lab(draw_heat_map(np.linspace(0, 1, 101)[None]))[0, :, 0]
        assert (np.diff(lightness) > 0).all()
        np.testing.assert_allclose(lightness, np.linspace(lightness[0], lightness[-1], 101), atol=6)

    def test_ends_are_black_and_pale_and_the_rest_is_clipped(self):
        colors = draw_heat_map(np.array([[0.0, 1.0, -3.0, 7.0]]))
        assert colors.shape == (1, 4, 3) and colors.dtype == np.uint8
        assert colors[0, 0].max() < 8 and colors[0, 1].min() > 150
        np.testing.assert_array_equal(colors[0, 2:], colors[0, :2])

    def test_size_is_that_asked_for(self):
        picture = draw_heat_map(np.repeat([[1.0], [0.0]], 8, axis=1), size=(20, 40))
        assert picture.shape == (20, 40, 3) and picture[0].mean() > 150 > picture[-1].mean()

    @pytest.mark.parametrize(("values", "words"), [(np.zeros(3), "values must be"), ([[np.nan]], "must not hold NaN")])
    def test_wrong_values_raise(self, values, words):
        with pytest.raises(ValueError, match=words):
            draw_heat_map(values)


class TestContactSheet:
    titles = ("Image", "Label", "Uncertainty")

    def row(self, height: int, width: int) -> list[np.ndarray]:
        return [
            np.full((height, width, 3), (200, 10, 10), dtype=np.uint8),
            np.ones((height, width), dtype=bool),
            np.zeros((height, width)),
        ]

    def test_every_picture_has_its_cell_in_order(self):
        sheet = np.asarray(contact_sheet([self.row(50, 50), self.row(20, 40)], [""] * 3, cell_size=100))
        third = sheet.shape[1] // 3
        for color, j in (((200, 10, 10), 0), ((255, 255, 255), 1), ((0, 0, 0), 2)):
            found = pixels_of(sheet[:, j * third : (j + 1) * third], color).sum()
            assert found == pytest.approx(100 * 100 + 100 * 50, rel=0.02)

    def test_titles_are_written_and_long_ones_shortened(self):
        rows = [self.row(40, 40)]
        plain = contact_sheet(rows, self.titles)
        named = contact_sheet(rows, self.titles, row_titles=["a very long file name " * 20 + "\u4e2d.png"])
        assert named.width == plain.width and named.height > plain.height
        assert plain.tobytes() != contact_sheet(rows, ("", "", "")).tobytes()

    def test_legend_is_below_and_takes_as_many_lines_as_it_needs(self):
        rows, color = [self.row(40, 40)], (12, 200, 90)
        plain = contact_sheet(rows, self.titles)
        short = np.asarray(contact_sheet(rows, self.titles, legend={"liver": color}))
        long = np.asarray(contact_sheet(rows, self.titles, legend={f"a long name {i}": color for i in range(20)}))
        assert plain.height < len(short) < len(long) and plain.width == short.shape[1] == long.shape[1]
        assert (short[: plain.height] == np.asarray(plain)).all()
        square = pixels_of(short[plain.height :], color).sum()
        assert square > 50 and pixels_of(long[plain.height :], color).sum() == 20 * square

    def test_masks_have_no_values_in_between(self):
        sheet = np.asarray(contact_sheet([[np.eye(5, dtype=bool)]], [""], cell_size=97))
        assert set(np.unique(sheet[(sheet != 232).any(axis=-1)])) == {0, 255}

    @pytest.mark.parametrize(
        ("rows", "titles", "row_titles", "words"),
        [
            ([], ["a"], None, "must not be empty"),
            ([[np.zeros((2, 2))]], ["a", "b"], None, "row 0 has 1 pictures for 2 titles"),
            ([[np.zeros((2, 2))]], ["a"], [], "row_titles has 0 entries for 1 rows"),
        ],
    )
    def test_wrong_lengths_raise(self, rows, titles, row_titles, words):
        with pytest.raises(ValueError, match=words):
            contact_sheet(rows, titles, row_titles)


def test_classes_have_distinct_colours_and_background_shows_the_image():
    colors = class_colors(14).astype(int)
    assert colors[0].tolist() == [0, 0, 0]
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distances[np.triu_indices(14, 1)].min() > 60
    labels, image = np.array([[0, 1], [2, 0]]), np.full((2, 2), 0.2)
    np.testing.assert_array_equal(draw_classes(labels), colors[labels])
    drawn = draw_classes(labels, image)
    np.testing.assert_array_equal(drawn[0, 0], [51, 51, 51])
    assert np.abs(drawn[0, 1] - (51 + colors[1]) / 2).max() <= 1
    with pytest.raises(ValueError, match="labels must be of the image's size"):
        draw_classes(labels, np.zeros((3, 2)))


def test_data_address_holds_the_picture():
    picture = np.full((6, 9, 3), (200, 30, 60), dtype=np.uint8)
    head, content = picture_uri(picture).split(",")
    assert head == "data:image/jpeg;base64"
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), picture, atol=6)


def test_each_class_has_its_colour_in_overlay_and_report():
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:15, 5:15], mask[20:35, 30:50] = 1, 2
    colors = [tuple(color) for color in class_colors(3).tolist()]
    overlay = draw_class_overlay(np.full((40, 60), 0.5), mask, ["background", "lesion", "tool"])
    for index in (1, 2):
        drawn = pixels_of(overlay, colors[index])
        assert drawn.any() and (mask[drawn] == index).all()
    label = np.roll(mask, 3, axis=1)
    case = draw_class_case(np.full((40, 60, 3), 128, dtype=np.uint8), mask, label, side=60)
    lines = pixels_of(case, colors[2])
    assert lines.any() and (label[lines] == 2).all()  # lines: label; tints: prediction
    inside = case[25, 35].astype(int)
    assert mask[25, 35] == 2 and np.abs(inside - (0.55 * 128 + 0.45 * np.array(colors[2]))).max() <= 1
