"""Converted checkpoints compute what the released networks do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from condseg_monai import ConDSeg, MedDisSeg, MedDisSegStage1
from condseg_monai.losses.dispersive import dispersive_loss
from condseg_monai.losses.released import ReleasedConDSegLoss, ReleasedConsistencyReinforcementLoss
from condseg_monai.networks.released.condseg import RELEASED_MODELS, from_released
from tests import fill
from tests.networks.released.vectors import load, sample

REGIONS = {"mask": "mask", "fg": "foreground", "bg": "background", "uc": "uncertainty"}


def build(model: str) -> nn.Module:
    if model == "condseg_pvt":
        pytest.importorskip("transformers")
    return from_released(load(model).state_dict(), model)


def probabilities(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """The released names of the outputs, after the sigmoid the released networks end in."""
    if isinstance(network, ConDSeg):
        output = network.forward_regions(image)
        return {name: torch.sigmoid(getattr(output, ours)) for name, ours in REGIONS.items()}
    return {"mask": torch.sigmoid(network(image))}


@pytest.mark.parametrize("size", [(64, 64), pytest.param((96, 64), marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "model",
    [
        *("condseg_stage1", "condseg_stage2", "med_disseg_stage1"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("condseg_pvt", "med_disseg_stage2")),
    ],
)
def test_eval_outputs_equal_the_released_ones(model: str, size: tuple[int, int]):
    with torch.no_grad():
        outputs = probabilities(build(model).double(), torch.from_numpy(fill.image(*size)).double())
    expected = load(model).expected(f"eval_{size[0]}x{size[1]}")
    for name, output in outputs.items():
        torch.testing.assert_close(sample(output), expected[name], rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("model", ["med_disseg_stage1", "med_disseg_stage2"])
def test_released_dispersive_loss_of_its_features_is_the_floor(model: str):
    with torch.no_grad():
        features = build(model).double().encoder(torch.from_numpy(fill.image(64, 64)).double())[3]
    loss = dispersive_loss(features, "infonce_l2", normalize=False)
    assert loss.item() == pytest.approx(math.log(1e-8), abs=1e-12)
    assert loss.float() == load(model).expected("eval_64x64")["dispersive"]
    assert dispersive_loss(features, "infonce_l2").item() > -18


def stage1_step(network: nn.Module) -> dict[str, Tensor]:
    # The released training calls the network once per view, so BatchNorm sees each view alone.
    views = [network(torch.from_numpy(fill.image(64, 64, name=name)).double()) for name in ("image", "augmented")]
    loss = ReleasedConsistencyReinforcementLoss()
    total = loss(torch.cat(views), torch.from_numpy(fill.mask(64, 64)))
    total.backward()
    names = {"mask_clean": "loss_mask", "mask_augmented": "loss_mask_aug", "consistency": "loss_cons"}
    return {"loss_total": total.detach(), **{names[name]: term for name, term in loss.terms.items()}}


def stage2_step(network: nn.Module) -> dict[str, Tensor]:
    loss = ReleasedConDSegLoss()
    total = loss(network(torch.from_numpy(fill.image(64, 64)).double()), torch.from_numpy(fill.mask(64, 64)))
    total.backward()
    names = {
        "mask": "loss_mask",
        "foreground": "loss_fg",
        "background": "loss_bg",
        "foreground_weight": "loss_beta1",
        "background_weight": "loss_beta2",
        "complementary": "loss_compl",
    }
    return {"loss_total": total.detach(), **{names[name]: term for name, term in loss.terms.items()}}


@pytest.mark.parametrize(
    ("model", "step", "rounding"),
    [
        ("condseg_stage1", stage1_step, 0.004),
        pytest.param("condseg_stage2", stage2_step, 0.09, marks=pytest.mark.slow),
    ],
)
def test_a_training_step_equals_the_released_one(model: str, step, rounding: float):
    """Losses and norms of gradients are stored as float32 computed them: single norms are off, their sum is not."""
    network = build(model).double().train()
    terms = step(network)
    expected = load(model).expected("train_64x64")
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=2e-6), name
    norms, expected_norms = gradients_by_released_key(model, network), load(model).json("gradnorm")
    assert norms == pytest.approx(expected_norms, rel=rounding)
    assert math.hypot(*norms.values()) == pytest.approx(math.hypot(*expected_norms.values()), rel=3e-4)


def gradients_by_released_key(model: str, network: nn.Module) -> dict[str, float]:
    """Gradient norms under the released names: each released parameter is marked, and found again in ours."""
    state_dict = load(model).state_dict()
    parameters = {name for name, _ in network.named_parameters()}
    marks = dict(enumerate(state_dict))
    marked = from_released({key: torch.full_like(value, i) for i, (key, value) in enumerate(state_dict.items())}, model)
    gradients = dict(network.named_parameters())
    return {
        marks[int(value.flatten()[0])]: gradients[name].grad.norm().item()
        for name, value in marked.state_dict().items()
        if name in parameters
    }


def test_med_disseg_becomes_its_own_networks():
    assert isinstance(build("med_disseg_stage1"), MedDisSegStage1)
    assert isinstance(build("med_disseg_stage2"), MedDisSeg)


def edited(without: str, **more: Tensor) -> dict[str, Tensor]:
    """The released first stage without a key, and with others."""
    return {**{key: value for key, value in load("condseg_stage1").state_dict().items() if key != without}, **more}


@pytest.mark.parametrize(
    ("make", "model", "words"),
    [
        (
            lambda: edited("layer2.0.conv1.weight"),
            "condseg_stage1",
            r"without a value \[encoder.layer2.0.conv1.weight\]",
        ),
        (lambda: edited("", **{"layer9.weight": torch.zeros(1)}), "condseg_stage1", r"without a use \[layer9.weight\]"),
        (
            lambda: edited("", **{"head.conv_fuse.weight": torch.zeros(2, 256, 1, 1)}),
            "condseg_stage1",
            r"shapes \[head.conv_fuse.weight \(2, 256, 1, 1\)",
        ),
        (lambda: load("med_disseg_stage1").state_dict(), "condseg_stage1", r"without a use.*head.att1.fc.0.weight"),
        (lambda: edited(""), "condseg_stage2", "not a released condseg_stage2 checkpoint"),
        (dict, "condseg", ", ".join(RELEASED_MODELS)),
    ],
    ids=["missing key", "unknown key", "other shape", "Med-DisSeg", "other stage", "unknown model"],
)
def test_what_is_not_the_released_checkpoint_fails_by_its_names(make, model: str, words: str):
    with pytest.raises(ValueError, match=words):
        from_released(make(), model)
