"""Networks whose normalisation does not depend on the batch, and BatchNorm over several processes."""

import pytest
import torch
from torch import nn

from condseg_monai import ConDSeg, load_encoder_weights, set_norm, synchronize_batch_norm
from condseg_monai.networks.methods import METHODS, network_of
from condseg_monai.networks.model_card import ModelCard

SMALL = {"encoder": "resnet18", "decoder_channels": 16}


def network_with(norm: str, method: str) -> nn.Module:
    options = METHODS[method].options
    shape = {"in_channels": 3, "out_channels": 1, **options, **{k: v for k, v in SMALL.items() if k in options}}
    return network_of(ModelCard(method, {**shape, "norm": norm}))


def mask_of(output):
    return output if isinstance(output, torch.Tensor) else getattr(output, "mask", output[0])


@pytest.mark.parametrize("method", METHODS)
def test_output_of_an_image_does_not_depend_on_the_batch_in_training(method):
    torch.manual_seed(0)
    network = network_with("group", method).train()
    images = torch.rand(4, 3, 64, 64)
    parts = images.split(2 if method == "dec_seg" else 1)  # whose training wants two images
    with torch.no_grad():
        whole, alone = mask_of(network(images)), torch.cat([mask_of(network(part)) for part in parts])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def test_batch_is_what_cards_without_the_entry_mean():
    card = ModelCard("unet", {"in_channels": 3, "out_channels": 1, "decoder_channels": 8})
    assert network_of(card).state_dict().keys() == network_with("batch", "unet").state_dict().keys()


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (8, 4), (12, 4), (7, 1), (2, 1), (1, 1)])
def test_groups_have_two_channels_where_there_are_two(channels, groups):
    network = nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3))
    set_norm(network, "group")
    assert (network[0].num_groups, network[0].eps) == (groups, 1e-3)
    network(torch.rand(2, channels, 3, 3))


def test_other_norms_and_weights_of_another_norm_are_refused(tmp_path):
    with pytest.raises(ValueError, match="norm must be batch or group, got 'layer'"):
        ConDSeg(**SMALL, norm="layer")
    file = tmp_path / "encoder.pth"
    torch.save(ConDSeg(**SMALL).encoder.state_dict(), file)
    with pytest.raises(ValueError, match="norm is group: give --encoder_weights null"):
        load_encoder_weights(ConDSeg(**SMALL, norm="group"), file)


@pytest.mark.slow
def test_group_norm_can_be_scripted():
    network = ConDSeg(**SMALL, norm="group").eval()
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(torch.jit.script(network)(image), network(image))


def test_batch_norm_of_a_cpu_is_left_alone():
    network = ConDSeg(encoder="efficientnet_lite0", decoder_channels=8)
    assert synchronize_batch_norm(network) is network
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batch_norm_of_a_gpu_is_synchronised_and_keeps_its_settings_and_weights():
    network = ConDSeg(encoder="efficientnet_lite0", decoder_channels=8).cuda()
    settings = [(m.eps, m.momentum, m.weight) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    keys = network.state_dict().keys()
    assert synchronize_batch_norm(network, False) is network
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
    network = synchronize_batch_norm(network)
    found = [(m.eps, m.momentum, m.weight) for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert [entry[:2] for entry in found] == [entry[:2] for entry in settings]
    assert all(new is old for (*_, new), (*_, old) in zip(found, settings, strict=True))
    assert network.state_dict().keys() == keys
