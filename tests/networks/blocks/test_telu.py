"""TeLU: the formula where it can be computed, and finite everywhere."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from monai.networks.layers.factories import Act
from monai.networks.layers.utils import get_act_layer

from condseg_monai import TeLU
from condseg_monai.networks.blocks.convolution import conv_norm_act


def test_values_are_those_of_the_formula():
    for x in (-30.0, -5.0, -1.0, -0.1, 0.0, 0.3, 1.0, 2.5, 4.0, 9.0, 300.0):
        value = TeLU()(torch.tensor(x, dtype=torch.float64)).item()
        assert value == pytest.approx(x * math.tanh(math.exp(x)), rel=1e-14)


def test_gradient_is_that_of_the_values():
    x = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(TeLU(), (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_inputs_keep_a_gradient_in_every_type(dtype):
    x = torch.tensor([-6e4, -90.0, -20.0, 11.0, 12.0, 89.0, 800.0, 6e4], dtype=dtype, requires_grad=True)
    y = TeLU()(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == dtype
    assert torch.equal(y[3:], x[3:])
    assert torch.equal(gradient[3:], torch.ones(5, dtype=dtype))
    assert y[:3].abs().max() < 1e-6
    assert gradient[:3].abs().max() < 1e-6


def test_autocast_gives_the_type_a_relu_gives():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert TeLU()(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_importing_a_network_registers_it_with_monai():
    assert "TELU" in Act
    assert isinstance(get_act_layer("telu"), TeLU)
    assert isinstance(conv_norm_act(2, 3, act="telu").adn.A, TeLU)


NETWORKS = """
import multiprocessing
import monai.networks.nets

def build(name):
    import condseg_monai
    getattr(condseg_monai, name)(encoder="resnet18")

for name in ("MedDisSegStage1", "MedDisSeg"):  # each in a process that knows nothing of the other
    process = multiprocessing.get_context("fork").Process(target=build, args=[name])
    process.start()
    process.join()
    assert process.exitcode == 0, name
"""


@pytest.mark.slow  # imports MONAI anew
def test_networks_find_it_where_nothing_else_was_imported():
    subprocess.run([sys.executable, "-c", NETWORKS], check=True, timeout=120)
