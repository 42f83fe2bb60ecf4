"""Values of masks: black and white, or a class each."""

import numpy as np
import pytest

from condseg_monai.data.images.mask_values import class_indices, class_map, flat_values, refuse_classes


def areas(*values):
    """A row of 4 x 4 squares, one for each value."""
    return np.concatenate(
        [np.broadcast_to(np.array(value, dtype=np.uint8), (4, 4, *np.shape(value))) for value in values], 1
    )


def test_indices_follow_the_order_of_the_classes():
    mask = np.array([[255, 0], [128, 255]], dtype=np.uint8)
    assert class_indices(mask, [0, 255, 128]).tolist() == [[1, 0], [2, 1]]


def test_colours_are_told_apart_by_all_three_channels():
    colours = [[0, 0, 0], [255, 0, 0], [255, 0, 1], [0, 255, 0]]
    mask = np.array([colours[::-1]], dtype=np.uint8)
    assert class_indices(mask, colours).tolist() == [[3, 2, 1, 0]]


def test_grey_mask_of_a_coloured_class_list_and_grey_colours_of_a_numbered_one():
    assert class_indices(np.array([[0, 9]]), [[0, 0, 0], [9, 9, 9]]).tolist() == [[0, 1]]
    assert class_indices(np.array([[[0, 0, 0], [9, 9, 9]]]), [0, 9]).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("mask", "values", "words"),
    [
        ([[0, 7], [3, 7]], [0, 1], r"values of no class: 3, 7; class_values are 0, 1"),
        ([[[0, 0, 0], [1, 2, 3]]], [[0, 0, 0], [9, 9, 9]], r"values of no class: \[1, 2, 3\]; class"),
        ([[[0, 0, 0], [1, 2, 3]]], [0, 1], "it has colours, but class_values are numbers"),
    ],
)
def test_value_without_a_class_is_named(mask, values, words):
    with pytest.raises(ValueError, match=words):
        class_indices(np.array(mask), values)


def test_class_map_counts_up_from_0():
    assert class_map(("background", "a b")) == {"background": 0, "a b": 1}


@pytest.mark.parametrize(
    ("names", "values", "words"),
    [
        ("background,lesion", None, "class_names must be two or more"),
        (["background"], None, "class_names must be two or more"),
        (["a", "a"], None, "different names"),
        (["a", "b"], [0], "class_values must be a number or a colour"),
        (["a", "b"], [0, 0], "all different"),
        (["a", "b"], [0, [1, 2, 3]], "class_values must be"),
        (["a", "b"], [[0, 0, 0], [1, 2, 256]], r"class_values: b has \(1, 2, 256\), and a mask file holds"),
        (["a", "b"], [0, 70000], "class_values: b has 70000, and a mask file holds numbers from 0 to 65535, colours"),
        (["a", "b"], [-1, 0], "class_values: a has -1"),
        (["a", "b"], [0, 1.5], "class_values must be"),
    ],
)
def test_wrong_names_and_values_raise(names, values, words):
    with pytest.raises(ValueError, match=words):
        class_map(names, values)


def test_flat_values_are_those_that_fill_an_area():
    mask = areas(0, 255)
    mask[1, 1], mask[0, :] = 100, 50  # a pixel and a line
    assert flat_values(np.concatenate([mask, areas(0, 255)])) == [0, 255]


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 2), (1, 4, 3)])
def test_mask_smaller_than_an_area_has_none(shape):
    assert flat_values(np.zeros(shape, np.uint8)) == []


def test_noise_of_lossy_compression_counts_with_its_neighbour():
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], 4, axis=0)  # more than 16 values, none flat
    assert len(flat_values(np.concatenate([areas(0, 3, 250, 255), ramp], axis=1))) == 2
    assert flat_values(areas(0, 3, 255)) == [0, 3, 255]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0, 1, 2), "3 values, 0, 1, 2"),
        ((0, 128, 255), "0, 128, 255"),
        ((0, 1, 2, 255), "0, 1, 2, 255"),
        (([0, 0, 0], [255, 0, 0], [0, 255, 0]), r"\[0, 0, 0\], \[0, 255, 0\], \[255, 0, 0\]"),
    ],
)
def test_more_than_two_values_are_refused_with_the_remedy(values, shown):
    with pytest.raises(
        ValueError, match=f"{shown}: give the names of its classes as --class_names .* or --mask_threshold"
    ):
        refuse_classes(areas(*values))


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 200), (7,), ([0, 0, 0], [255, 0, 0])])
def test_two_values_are_a_binary_mask(values):
    refuse_classes(areas(*values))
