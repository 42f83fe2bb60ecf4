"""The dispersive loss: the stored numbers, formulas worked pair by pair, and a gradient on real features."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from condseg_monai import DispersiveLoss, MedDisSegStage1
from condseg_monai.losses.dispersive import dispersive_loss

KINDS = ("infonce_l2", "infonce_cosine", "hinge", "covariance")
HERE = Path(__file__).parent


def random_features(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_released_form_equals_the_stored_numbers(kind, temperature):
    with np.load(HERE / "data" / "dispersive.npz") as stored:
        z = torch.from_numpy(stored["z"])
        expected = float(stored[f"{kind}_T{temperature}".replace(".", "p")])
    assert dispersive_loss(z, kind, temperature, normalize=False).item() == pytest.approx(expected, rel=1e-5)


def by_hand(z, kind, temperature, normalize):
    """One pair, and one pair of features, at a time."""
    z = z.flatten(1).numpy()
    count, size = z.shape
    pairs = list(permutations(range(count), 2))
    if kind == "covariance":
        covariance = np.cov(z.T)
        total = sum(covariance[m, n] ** 2 for m, n in permutations(range(size), 2))
        return total / size**2 if normalize else total
    if kind == "infonce_cosine":
        distances = [1 - z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j]) for i, j in pairs]
    elif normalize:
        distances = [((z[i] - z[j]) ** 2).mean() for i, j in pairs]
    else:
        distances = [np.linalg.norm(z[i] - z[j]) for i, j in pairs]
    if kind == "hinge":
        return np.mean([max(0.0, 1 - d) ** 2 for d in distances])
    return math.log(np.mean([math.exp(-d / temperature) for d in distances]) + (0 if normalize else 1e-8))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_equals_its_formula(kind, normalize):
    z = 0.4 * random_features(5, 3, 2, 2)
    assert dispersive_loss(z, kind, 0.7, normalize).item() == pytest.approx(by_hand(z, kind, 0.7, normalize), rel=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind, normalize):
    z = (0.3 * random_features(4, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: dispersive_loss(z, kind, 0.5, normalize), (z,))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_one_image_costs_nothing_and_keeps_the_graph(kind, normalize):
    z = random_features(1, 4, 3, 3).requires_grad_()
    loss = DispersiveLoss(kind, normalize=normalize)(z)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_images_and_zero_features_have_a_finite_gradient(kind, normalize):
    for z in (torch.zeros(3, 5), torch.ones(3, 5)):
        z.requires_grad_()
        loss = dispersive_loss(z, kind, normalize=normalize)
        loss.backward()
        assert loss.isfinite()
        assert z.grad.isfinite().all()


def test_real_features_get_a_gradient_only_if_distances_are_normalised():
    torch.manual_seed(0)
    network = MedDisSegStage1(encoder="resnet18").train()
    features = network(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))).features[-1]
    assert torch.pdist(features.flatten(1)).min() > 0.5 * math.log(1e8)  # beyond the floor of the released form
    norms = {}
    for normalize in (True, False):
        loss = DispersiveLoss("infonce_l2", normalize=normalize)(features)
        (gradient,) = torch.autograd.grad(loss, network.encoder.conv1.weight, retain_graph=True)
        norms[normalize] = gradient.norm().item()
        assert normalize or loss.item() == pytest.approx(math.log(1e-8))
    assert norms[False] < 1e-6
    assert norms[True] > 1e-3


def test_far_images_keep_a_gradient_where_the_exponential_is_zero():
    z = (1e3 * random_features(3, 4, dtype=torch.float32)).requires_grad_()
    loss = dispersive_loss(z, "infonce_l2")
    loss.backward()
    assert loss.item() < -1e5
    assert z.grad.norm() > 1


def test_autocast_and_half_features_are_computed_in_float32():
    z = random_features(3, 4, dtype=torch.float32).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dispersive_loss(z)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, dispersive_loss(z.float()))


@pytest.mark.parametrize(
    ("features", "arguments", "error", "words"),
    [
        (torch.ones(2, 3), {"kind": "l2"}, ValueError, "kind must be one of infonce_l2, infonce_cosine, hinge, cov"),
        (torch.ones(2, 3), {"temperature": 0.0}, ValueError, r"temperature must be in \(0, inf\), got 0.0"),
        (torch.ones(2, 3, dtype=torch.int64), {}, TypeError, "floating point tensor, got torch.int64"),
        (torch.ones(2), {}, ValueError, r"features must be \(B, ...\) and not empty, got \(2,\)"),
        (torch.ones(0, 3), {}, ValueError, "not empty"),
    ],
)
def test_wrong_arguments_raise(features, arguments, error, words):
    with pytest.raises(error, match=words):
        dispersive_loss(features, **arguments)


@pytest.mark.slow
def test_two_processes_see_the_global_batch(tmp_path):
    result = subprocess.run(
        [sys.executable, str(HERE / "dispersive_driver.py"), str(tmp_path)],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]

    weight = random_features(6, 4, seed=1).requires_grad_()
    batches = [random_features(count, 4, seed=2 + rank) for rank, count in enumerate((3, 2))]
    for kind in KINDS:
        loss = dispersive_loss(torch.cat(batches) @ weight.T, kind)
        (expected,) = torch.autograd.grad(loss, weight)
        averaged = sum(torch.tensor(rank[kind]["gradient"], dtype=torch.float64) for rank in found) / 2
        assert [rank[kind]["loss"] for rank in found] == pytest.approx([loss.item()] * 2, rel=1e-12)
        torch.testing.assert_close(averaged, expected, rtol=1e-9, atol=1e-12)
