"""Window attention equals unfold, matrix product and fold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from condseg_monai.networks.ops.local_attention import compose_attention, plain_window_attention, window_attention


def random_attention(heads: int, k: int, h: int, w: int, b: int = 2) -> Tensor:
    return torch.randn(b, heads, k * k, k * k, h, w, dtype=torch.float64).softmax(dim=3)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 4)])
def test_values_and_gradients_equal_those_of_unfold_matmul_fold(k, heads, size):
    torch.manual_seed(0)
    values, attention = torch.randn(2, 4, *size, dtype=torch.float64), random_attention(heads, k, *size)
    results = []
    for function in (window_attention, plain_window_attention):
        inputs = [values.clone().requires_grad_(), attention.clone().requires_grad_()]
        output = function(*inputs)
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    torch.testing.assert_close(*results)


@pytest.mark.slow
def test_it_can_be_differentiated_twice():
    torch.manual_seed(0)
    values = torch.randn(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    attention = random_attention(1, 3, 1, 2, b=1).requires_grad_()
    assert torch.autograd.gradcheck(window_attention, (values, attention))
    assert torch.autograd.gradgradcheck(window_attention, (values, attention))


def test_composed_attention_weighs_as_both_one_after_the_other():
    torch.manual_seed(0)
    first, second = random_attention(2, 3, 4, 5), random_attention(2, 3, 4, 5)
    expected = torch.einsum("bgijhw,bgjkhw->bgikhw", first, second)
    torch.testing.assert_close(compose_attention(first, second), expected)


def test_windows_are_never_stored():
    values = torch.randn(1, 32, 24, 24, requires_grad=True)
    attention = random_attention(1, 3, 24, 24, b=1).float()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        window_attention(values, attention.requires_grad_())
    assert max(saved) <= values.numel()  # an unfolded map has nine times as many


def test_a_batch_of_nothing_gives_nothing():
    assert window_attention(torch.zeros(0, 4, 3, 3), torch.zeros(0, 1, 9, 9, 3, 3)).shape == (0, 4, 3, 3)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_no_slice_is_written_which_exporters_spell_out():
    values, attention = torch.rand(1, 4, 5, 6), torch.rand(1, 1, 9, 9, 5, 6).softmax(dim=3)
    graph = torch.jit.trace(window_attention, (values, attention), check_trace=False).graph
    written = [node.kind() for node in graph.nodes() if node.kind() in ("aten::add_", "aten::copy_")]
    assert written == []
