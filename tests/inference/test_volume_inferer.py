import numpy as np
import pytest
import torch
from scipy.ndimage import label as connected
from scipy.ndimage import zoom
from torch import Tensor, nn

from condseg_monai.data.ct.dicom_series import read_dicom_series
from condseg_monai.data.ct.volume import Volume, axial_slices
from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.inference.volume_inferer import VolumeInferer, keep_largest_components
from condseg_monai.networks.nets import RegionPrediction
from tests.ct import AFFINE, ORIENTATIONS, at_same_places, oblique_affine, phantom, turned, write_dicom

IMAGE, LABEL = phantom()


class Tiny(nn.Module):
    """Five classes from what lies around a pixel, differently on each side, so that a turned slice is seen."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(in_channels, 5, 5, padding=2)
        nn.init.normal_(self.conv.weight, std=0.5)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(tuple(x.shape))
        return self.conv(x)

    def predict_regions(self, x: Tensor) -> RegionPrediction:
        logits = self(x)
        return RegionPrediction(logits, logits[:, :3].softmax(dim=1))


def volume(array: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(path="ct.nii.gz", array=array, affine=affine, file_shape=array.shape)


def expected_scores(network: nn.Module, size: int) -> torch.Tensor:
    """Probabilities ``(D, C, H, W)`` of the whole phantom at once, turned by nibabel, scaled by hand."""
    array, _ = turned(IMAGE, AFFINE, "LPS")
    stack = array.transpose(2, 1, 0).astype(np.float64)
    grey = np.clip((stack + 125) / 400, 0, 1)
    small = np.stack([zoom(slice_, (size / slice_.shape[0], size / slice_.shape[1]), order=3) for slice_ in grey])
    batch = torch.from_numpy(small).float()[:, None].repeat(1, 3, 1, 1)
    with torch.no_grad():
        return network.eval()(normalize_image(batch)).softmax(dim=1)


class TestLabels:
    def test_network_of_one_channel_gets_one(self):
        network = Tiny(in_channels=1)
        VolumeInferer(image_size=24, in_channels=1)(volume(IMAGE, AFFINE), network)
        assert {shape[1:] for shape in network.seen} == {(1, 24, 24)}

    def test_are_those_of_the_whole_stack_at_once(self):
        network = Tiny()
        labels = VolumeInferer(image_size=24, batch_size=4)(volume(IMAGE, AFFINE), network)
        assert labels.dtype == np.uint8 and labels.shape == IMAGE.shape and len(np.unique(labels)) >= 3
        large = nn.functional.interpolate(
            expected_scores(network, 24), (IMAGE.shape[1], IMAGE.shape[0]), mode="bilinear", align_corners=True
        )
        np.testing.assert_array_equal(axial_slices(labels, AFFINE), large.argmax(1).numpy())

    def test_of_the_published_protocol_are_resized_by_nearest(self):
        network = Tiny()
        labels = VolumeInferer(image_size=24, resizing="transunet")(volume(IMAGE, AFFINE), network)
        small = expected_scores(network, 24).argmax(1).numpy()
        expected = np.stack([zoom(slice_, (26 / 24, 20 / 24), order=0) for slice_ in small])
        np.testing.assert_array_equal(axial_slices(labels, AFFINE), expected)
        assert (labels != VolumeInferer(image_size=24)(volume(IMAGE, AFFINE), network)).any()

    @pytest.mark.parametrize("affine", [AFFINE, oblique_affine()], ids=["straight", "oblique"])
    def test_are_the_same_anatomy_in_every_orientation(self, affine):
        network, inferer = Tiny(), VolumeInferer(image_size=16, batch_size=16)
        expected = inferer(volume(IMAGE, affine), network)
        for codes in ORIENTATIONS:
            array, turned_affine = turned(IMAGE, affine, codes)
            labels = inferer(volume(array, turned_affine), network)
            assert labels.shape == array.shape
            same = at_same_places(labels, turned_affine, expected, affine)
            np.testing.assert_array_equal(labels, same, codes)

    @pytest.mark.parametrize("codes", ["LPS", "RAI", "PSL"])
    def test_are_the_same_anatomy_from_dicom(self, tmp_path, codes):
        pytest.importorskip("pydicom")
        network, inferer = Tiny(), VolumeInferer(image_size=16)
        write_dicom(tmp_path / "s", *turned(IMAGE, oblique_affine(), codes))
        series = read_dicom_series(tmp_path / "s")
        labels = inferer(series, network)
        expected = inferer(volume(IMAGE, oblique_affine()), network)
        np.testing.assert_array_equal(labels, at_same_places(labels, series.affine, expected, oblique_affine()))

    def test_of_a_binary_network_are_0_and_1(self):
        torch.manual_seed(0)
        network = nn.Conv2d(3, 1, 3, padding=1)
        labels = VolumeInferer(image_size=24, normalization="released")(volume(IMAGE, AFFINE), network)
        assert set(np.unique(labels)) == {0, 1} and network.training


class TestStreaming:
    def test_network_sees_one_batch_at_a_time(self):
        network, seen = Tiny(), []
        VolumeInferer(image_size=16, batch_size=4)(volume(IMAGE, AFFINE), network, on_progress=seen.append)
        assert network.seen == [(4, 3, 16, 16), (4, 3, 16, 16), (1, 3, 16, 16)] and seen == [4, 4, 1]

    def test_scores_come_slice_by_slice_at_full_size(self):
        network, probability, uncertainty = Tiny(), {}, {}
        inferer = VolumeInferer(image_size=24, batch_size=4)
        labels = inferer(volume(IMAGE, AFFINE), network, probability.__setitem__, uncertainty.__setitem__)
        scores = np.stack([probability[i] for i in range(IMAGE.shape[2])])
        assert scores.shape == (9, 26, 20, 5)
        np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(scores.argmax(-1), axial_slices(labels, AFFINE))
        assert [uncertainty[i].shape for i in range(9)] == [(26, 20)] * 9

    def test_uncertainty_needs_a_network_that_has_it(self):
        with pytest.raises(ValueError, match="predicts no regions"):
            VolumeInferer()(volume(IMAGE, AFFINE), nn.Conv2d(3, 2, 1), on_uncertainty={}.__setitem__)


def test_output_that_is_not_finite_is_no_label():
    network = nn.Conv2d(3, 2, 1)
    network.bias.data[1] = float("nan")
    with pytest.raises(ValueError, match="output is not finite"):
        VolumeInferer(image_size=16)(volume(IMAGE, AFFINE), network)


@pytest.mark.parametrize("change", [{"image_size": 0}, {"batch_size": 0}, {"resizing": "x"}, {"precision": "x"}])
def test_arguments_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        VolumeInferer(**change)


def test_largest_component_of_each_organ_is_kept():
    rng = np.random.default_rng(0)
    labels = np.asfortranarray(rng.choice(4, (14, 12, 9), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8))
    labels[2:6, 2:6, 2:6], labels[8:12, 2:5, 3:8] = 1, 2
    before = labels.copy()
    keep_largest_components(labels)
    for organ in range(1, 4):
        parts, number = connected(before == organ, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        assert number > 1 and (labels == organ).sum() == sizes.max()
        assert len(np.unique(parts[labels == organ])) == 1
    assert ((labels == before) | (labels == 0)).all()
