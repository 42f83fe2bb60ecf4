import doctest

import numpy as np
import pytest
from nibabel.affines import voxel_sizes

import condseg_monai.data.ct.volume
from condseg_monai.data.ct.volume import (
    Volume,
    VolumeError,
    axial_slices,
    axial_spacing,
    check_hounsfield,
    volume_of_slices,
)
from tests.ct import AFFINE, ORIENTATIONS, SHAPE, oblique_affine, phantom, turned

IMAGE, _ = phantom()


def volume(array: np.ndarray, **kwargs) -> Volume:
    return Volume(path="ct.nii.gz", array=array, affine=AFFINE, **kwargs)


def test_examples():
    assert doctest.testmod(condseg_monai.data.ct.volume).failed == 0


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


class TestAxialSlices:
    def test_axes_lead_to_head_back_and_left(self):
        """By hand, of an array towards right, front and head."""
        expected = np.empty((SHAPE[2], SHAPE[1], SHAPE[0]), IMAGE.dtype)
        for i, j, k in np.ndindex(SHAPE):
            expected[k, SHAPE[1] - 1 - j, SHAPE[0] - 1 - i] = IMAGE[i, j, k]
        np.testing.assert_array_equal(axial_slices(IMAGE, AFFINE), expected)

    @pytest.mark.parametrize("affine", [AFFINE, oblique_affine()], ids=["straight", "oblique"])
    def test_are_the_same_in_every_orientation(self, affine):
        expected, spacing = axial_slices(IMAGE, affine), axial_spacing(affine)
        assert spacing == pytest.approx((5.0, 2.0, 1.5))
        for codes in ORIENTATIONS:
            array, turned_affine = turned(IMAGE, affine, codes)
            np.testing.assert_array_equal(axial_slices(array, turned_affine), expected, codes)
            assert axial_spacing(turned_affine) == pytest.approx(spacing)
            assert sorted(voxel_sizes(turned_affine)) == pytest.approx(sorted(spacing))

    def test_are_a_view_that_can_be_written_to(self):
        for codes in ORIENTATIONS:
            array, affine = turned(np.zeros(SHAPE, np.uint8), AFFINE, codes)
            array = np.asfortranarray(array)
            axial_slices(array, affine)[:] = axial_slices(IMAGE, AFFINE) > 0
            np.testing.assert_array_equal(array, turned((IMAGE > 0).astype(np.uint8), AFFINE, codes)[0])

    def test_are_undone(self):
        for codes in ORIENTATIONS:
            array, affine = turned(IMAGE, AFFINE, codes)
            np.testing.assert_array_equal(volume_of_slices(axial_slices(array, affine), affine), array)

    @pytest.mark.parametrize("affine", [np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1]), np.eye(3)])
    def test_affine_that_tells_nothing_is_refused(self, affine):
        with pytest.raises(VolumeError, match="affine"):
            axial_slices(IMAGE, affine)


class TestHounsfield:
    def test_stored_values_are_scaled(self):
        stored = volume(np.array([[[0, 2048]]], np.uint16), slope=0.5, intercept=-1024)
        np.testing.assert_array_equal(stored.hounsfield(stored.array), [[[-1024.0, 0.0]]])

    def test_ct_passes(self):
        check_hounsfield(volume(IMAGE))
        check_hounsfield(volume((IMAGE + 1024).astype(np.uint16), intercept=-1024))
        check_hounsfield(volume(np.clip(IMAGE, -125, 275).astype(np.float32)))

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (IMAGE - IMAGE.min(), "from 0 to 1260"),  # the intercept is missing, or it is an MRI
            (np.clip((IMAGE + 125) / 400, 0, 1), "from 0 to 0.9625"),
            (np.full(SHAPE, -1000, np.int16), "from -1000 to -1000"),
        ],
    )
    def test_other_values_are_refused(self, array, words):
        with pytest.raises(VolumeError, match=f"{words}, which are not Hounsfield units.*check_values"):
            check_hounsfield(volume(array))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_a_number_is_refused_and_located(self, value):
        array = IMAGE.astype(np.float64)
        array[3, 4, 5:7] = value
        with pytest.raises(VolumeError, match="2 voxels that are NaN or infinite, the first at index 5"):
            check_hounsfield(volume(array))
