"""2D network as a network of volumes: its slices, its weights, and its export."""

import pytest
import torch
from torch import nn

from condseg_monai import ConDSeg, SliceNetwork
from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.networks.class_names import class_names_of, set_class_names


@pytest.fixture
def network() -> ConDSeg:
    torch.manual_seed(0)
    return ConDSeg(out_channels=3, encoder="resnet18", decoder_channels=8).eval()


@pytest.mark.parametrize("normalization", ["imagenet", "released"])
def test_every_slice_is_segmented_by_itself(network, normalization):
    volumes = torch.rand(2, 1, 32, 48, 5)
    with torch.no_grad():
        found = SliceNetwork(network, normalization=normalization, batch_size=4)(volumes)
        assert found.shape == (2, 3, 32, 48, 5)
        slices = normalize_image(volumes[..., 2].expand(-1, 3, -1, -1), normalization)
        torch.testing.assert_close(found[..., 2], network(slices), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("normalization", ["imagenet", "released"])
def test_network_gets_slices_normalised_to_the_last_bit(normalization):
    volumes = torch.rand(1, 1, 32, 48, 5)
    slices = normalize_image(volumes[0].movedim(-1, 0).expand(-1, 3, -1, -1), normalization)
    assert torch.equal(SliceNetwork(nn.Identity(), normalization=normalization)(volumes)[0].movedim(-1, 0), slices)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match="of 1 or 3 channels, got "):
        SliceNetwork(nn.Identity(), in_channels=4)


def test_state_dict_is_that_of_the_network(network):
    other = SliceNetwork(ConDSeg(out_channels=3, encoder="resnet18", decoder_channels=8))
    state = network.state_dict()
    assert other.state_dict().keys() == state.keys()
    other.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({key: value for key, value in state.items() if "encoder" not in key})


def test_batch_size_is_checked(network):
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        SliceNetwork(network, batch_size=0)


def test_checkpoint_with_class_names_fits_and_keeps_them():
    trained = nn.Conv2d(3, 2, 1)
    set_class_names(trained, ["background", "liver"])
    volumes = SliceNetwork(nn.Conv2d(3, 2, 1))
    volumes.load_state_dict(trained.state_dict())
    assert class_names_of(volumes) == ("background", "liver")
    assert volumes.state_dict().keys() == trained.state_dict().keys()
    volumes.load_state_dict(volumes.state_dict())
