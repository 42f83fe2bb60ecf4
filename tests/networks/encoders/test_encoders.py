"""Every encoder keeps the contract, and ImageNet weights give exactly the features they give elsewhere."""

from __future__ import annotations

import pytest
import torch

from condseg_monai import ConDSegStage1, load_encoder_weights
from condseg_monai.networks.encoders import ENCODERS, Res2NetEncoder, get_encoder
from condseg_monai.networks.encoders.weights import IMAGENET_FILES
from condseg_monai.networks.released.condseg import from_released
from tests.networks.encoders import torchvision_networks as torchvision
from tests.networks.released.vectors import load as released_vectors


def build(name: str, in_channels: int = 3):
    if name.startswith("pvt"):
        pytest.importorskip("transformers")
    return get_encoder(name, in_channels).eval()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_maps_have_the_declared_channels_and_strides(name, in_channels):
    encoder = build(name, in_channels)
    with torch.no_grad():
        maps = encoder(torch.rand(1, in_channels, 64, 96))
    assert [m.shape for m in maps] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert [b / a for a, b in zip(encoder.strides, encoder.strides[1:], strict=False)] == [2, 2, 2]


@pytest.mark.parametrize("name", ENCODERS)
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)  # stochastic depth may leave a layer out of all images of a batch
    encoder = build(name).train()
    sum(m.square().mean() for m in encoder(torch.rand(2, 3, 64, 64))).backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", [*torchvision.RESNET_BLOCKS, "vgg19"])
def test_torchvision_weights_give_torchvision_features(name, tmp_path):
    weights, image = torchvision.draw(torchvision.shapes_of(name)), torch.rand(1, 3, 64, 96)
    # The classifier's expanded zeros would be half a gigabyte on disk.
    torch.save({k: v for k, v in weights.items() if not k.startswith("classifier.0.w")}, tmp_path / "weights.pth")
    encoder = build(name)
    load_encoder_weights(encoder, tmp_path / "weights.pth")
    with torch.no_grad():
        for ours, theirs in zip(encoder(image), torchvision.features_of(weights, name, image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.slow
def test_pvt_takes_the_weights_of_its_authors_and_of_transformers(tmp_path):
    pytest.importorskip("transformers")
    released = released_vectors("condseg_pvt").state_dict()
    source = from_released(released, "condseg_pvt").encoder
    published = {k.removeprefix("backbone."): v for k, v in released.items() if k.startswith("backbone.")}
    torch.save({**published, "head.weight": torch.zeros(1000, 512)}, tmp_path / "published.pth")
    library = {f"pvt_v2.{key}": value for key, value in source.backbone.state_dict().items()}
    torch.save(library, tmp_path / "library.bin")
    for file in ("published.pth", "library.bin"):
        encoder = build("pvt_v2_b2")
        load_encoder_weights(encoder, tmp_path / file)
        assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), source.parameters(), strict=True))


@pytest.mark.parametrize(("channels", "rgb", "factor"), [(2, [0, 1], 1.5), (5, [0, 1, 2, 0, 1], 0.6)])
def test_other_numbers_of_channels_take_rgb_in_turn_and_grey_its_sum(channels, rgb, factor, tmp_path):
    weights = torchvision.draw(torchvision.shapes_of("resnet18"))
    torch.save(weights, tmp_path / "weights.pth")
    encoder, grey = build("resnet18", channels), build("resnet18", 1)
    load_encoder_weights(encoder, tmp_path / "weights.pth")
    load_encoder_weights(grey, tmp_path / "weights.pth")
    torch.testing.assert_close(encoder.conv1.weight, weights["conv1.weight"][:, rgb] * factor)
    torch.testing.assert_close(grey.conv1.weight, weights["conv1.weight"].sum(dim=1, keepdim=True))


def test_a_network_s_encoder_is_filled_and_none_changes_nothing(tmp_path):
    weights = torchvision.draw(torchvision.shapes_of("resnet18"))
    torch.save(weights, tmp_path / "weights.pth")
    network = ConDSegStage1(encoder="resnet18")
    before = network.encoder.conv1.weight.clone()
    for nothing in (None, "null", "None"):
        load_encoder_weights(network, nothing)
    assert torch.equal(network.encoder.conv1.weight, before)
    load_encoder_weights(network, tmp_path / "weights.pth")
    assert torch.equal(network.encoder.conv1.weight, weights["conv1.weight"])
    assert torch.equal(network.encoder.layer3[1].bn2.running_var, weights["layer3.1.bn2.running_var"])


def test_weights_of_another_encoder_fail_by_key_and_change_nothing(tmp_path):
    torch.save(torchvision.draw(torchvision.shapes_of("resnet34")), tmp_path / "weights.pth")
    encoder = build("resnet18")
    before = encoder.conv1.weight.clone()
    with pytest.raises(ValueError, match=r"unknown keys \[layer1.2.bn1.bias, .* more\]"):
        load_encoder_weights(encoder, tmp_path / "weights.pth")
    assert torch.equal(encoder.conv1.weight, before)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_damaged_and_missing_files_are_named(name, tmp_path):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    encoder = build("resnet18")
    with pytest.raises(FileNotFoundError, match=rf"encoder_weights: .*{name} does not exist"):
        load_encoder_weights(encoder, tmp_path / name)
    (tmp_path / name).write_bytes(b"half a file")
    with pytest.raises(ValueError, match=rf"encoder_weights: .*{name} is damaged"):
        load_encoder_weights(encoder, tmp_path / name)


@pytest.mark.parametrize("name", IMAGENET_FILES)
def test_download_checks_the_hash_and_fails_with_what_to_do(name, monkeypatch):
    def no_network(url, **arguments):
        assert arguments["check_hash"] and arguments["weights_only"]
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    with pytest.raises(RuntimeError, match=rf"Fetch .*{IMAGENET_FILES[name]} .*as --encoder_weights"):
        load_encoder_weights(build(name), "imagenet")


def test_downloaded_weights_are_loaded(monkeypatch):
    weights = torchvision.draw(torchvision.shapes_of("resnet18"))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: weights)
    encoder = build("resnet18")
    load_encoder_weights(encoder, "imagenet")
    assert torch.equal(encoder.layer2[0].downsample[0].weight, weights["layer2.0.downsample.0.weight"])


def test_missing_transformers_names_the_extra(monkeypatch):
    from condseg_monai.networks.encoders import pvt

    monkeypatch.setattr(pvt, "optional_import", lambda name: (None, False))
    with pytest.raises(ImportError, match=r'pip install "condseg_monai\[pvt\]"'):
        get_encoder("pvt_v2_b2", 3)


def test_res2net_takes_its_authors_file_with_and_without_the_last_stage(tmp_path):
    source = Res2NetEncoder(last_stage=True)
    published = {**source.state_dict(), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(published, tmp_path / "res2net.pth")
    image = torch.rand(1, 3, 64, 64)
    for last_stage in (True, False):
        encoder = Res2NetEncoder(last_stage=last_stage).eval()
        load_encoder_weights(encoder, tmp_path / "res2net.pth")
        with torch.no_grad():
            maps, expected = encoder(image), source.eval()(image)
        assert len(maps) == (5 if last_stage else 4)
        assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=False))


def test_res2net_block_is_a_hierarchy_of_splits():
    """One block against its definition: split i sees the output of split i - 1, the last passes unchanged."""
    block = Res2NetEncoder().layer1[1].eval()
    x = torch.rand(1, 256, 8, 8)
    with torch.no_grad():
        parts = torch.relu(block.bn1(block.conv1(x))).split(26, dim=1)
        outputs, previous = [], torch.zeros(())
        for part, conv, norm in zip(parts, block.convs, block.bns, strict=False):
            previous = torch.relu(norm(conv(part + previous)))
            outputs.append(previous)
        expected = torch.relu(block.bn3(block.conv3(torch.cat([*outputs, parts[3]], dim=1))) + x)
        torch.testing.assert_close(block(x), expected)
