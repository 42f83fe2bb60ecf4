"""Window attention against a plain composition of unfold, matrix product and fold."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.networks.blocks import window_attention


def plain_window_attention(values: Tensor, attention: Tensor) -> Tensor:
    b, c, h, w = values.shape
    heads, positions = attention.shape[1], attention.shape[2]
    k = round(positions**0.5)
    windows = F.unfold(values, k, padding=k // 2).view(b, heads, c // heads, positions, h * w)
    weighted = torch.einsum("bgijn,bgcjn->bgcin", attention.reshape(b, heads, positions, positions, h * w), windows)
    return F.fold(weighted.reshape(b, c * positions, h * w), (h, w), k, padding=k // 2)


def random_attention(heads: int, k: int, h: int, w: int, b: int = 2) -> Tensor:
    return torch.randn(b, heads, k * k, k * k, h, w, dtype=torch.float64).softmax(dim=3)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 4)])
def test_window_attention_equals_unfold_matmul_fold(k, heads, size):
    torch.manual_seed(0)
    values = torch.randn(2, 4, *size, dtype=torch.float64)
    attention = random_attention(heads, k, *size)
    torch.testing.assert_close(window_attention(values, attention), plain_window_attention(values, attention))


def test_window_attention_has_the_right_gradients():
    torch.manual_seed(0)
    values = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    attention = random_attention(2, 3, 2, 3, b=1).requires_grad_()
    assert torch.autograd.gradcheck(window_attention, (values, attention))


def test_gradients_are_the_same_without_the_custom_backward():
    torch.manual_seed(0)
    values, attention = torch.randn(2, 4, 5, 6, dtype=torch.float64), random_attention(2, 3, 5, 6)
    gradients = []
    for function in (window_attention, plain_window_attention):
        inputs = [values.clone().requires_grad_(), attention.clone().requires_grad_()]
        function(*inputs).square().sum().backward()
        gradients.append([value.grad for value in inputs])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_identity_attention_gives_each_value_once_per_window_that_holds_it():
    values = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    identity = torch.eye(9, dtype=torch.float64).view(1, 1, 9, 9, 1, 1).expand(1, 1, 9, 9, 3, 3)
    expected = torch.tensor([[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]], dtype=torch.float64)
    assert torch.equal(window_attention(values, identity)[0, 0], expected)


def test_windows_are_never_stored():
    values = torch.randn(1, 32, 24, 24, requires_grad=True)
    attention = random_attention(1, 3, 24, 24, b=1).float()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        window_attention(values, attention.requires_grad_())
    assert max(saved) <= values.numel()  # an unfolded map has nine times as many


@pytest.mark.parametrize(("k", "heads"), [(3, 1), (3, 4), (5, 2)])
def test_rows_at_a_time_give_the_same(k, heads, monkeypatch):
    values = torch.randn(2, 8, 7, 5, dtype=torch.float64, requires_grad=True)
    attention = torch.rand(2, heads, k * k, k * k, 7, 5, dtype=torch.float64, requires_grad=True)
    module = sys.modules[window_attention.__module__]  # the package has the function under the module's name
    results = []
    for numbers in (1, 2 * 8 * 5 * 3, 2**19):  # one row, three, all
        monkeypatch.setattr(module, "_NUMBERS_AT_A_TIME", numbers)
        output = window_attention(values, attention)
        results.append([output, *torch.autograd.grad(output.square().sum(), (values, attention))])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b)


def test_a_batch_of_nothing_gives_nothing():
    assert window_attention(torch.zeros(0, 4, 3, 3), torch.zeros(0, 1, 9, 9, 3, 3)).shape == (0, 4, 3, 3)
