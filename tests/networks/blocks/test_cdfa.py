"""CDFA against the paper's equations and against a plain composition of its two rounds."""

from __future__ import annotations

import pytest
import torch

from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation
from condseg_monai.networks.ops.local_attention import plain_window_attention
from tests import oracle


@pytest.mark.parametrize(("window", "heads"), [(3, None), (3, 2), (5, 1)])
def test_paper_form_is_equations_11_to_14(window, heads):
    torch.manual_seed(0)
    block = ContrastDrivenFeatureAggregation(6, 4, form="paper", window=window, heads=heads).double().eval()
    block.output = torch.nn.Identity()  # the equations end at the overlap-add
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    foreground, background = torch.randn(2, 2, 4, 5, 4, dtype=torch.float64).mul(3)
    with torch.no_grad():
        expected = oracle.cdfa(
            block.value(block.input(x)).numpy(),
            block.foreground_attention(foreground).numpy(),
            block.background_attention(background).numpy(),
            k=window,
            heads=heads or 1,
        )
        torch.testing.assert_close(block(x, foreground, background), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_released_form_is_two_rounds_with_one_projection():
    torch.manual_seed(0)
    block = ContrastDrivenFeatureAggregation(4, 8, form="released").double().eval()
    block.output = torch.nn.Identity()
    x = torch.randn(2, 4, 5, 4, dtype=torch.float64)
    foreground, background = torch.randn(2, 2, 8, 5, 4, dtype=torch.float64).mul(3)
    with torch.no_grad():
        expected = block.value(block.input(x))
        for logits in (block.foreground_attention(foreground), block.background_attention(background)):
            attention = (logits.view(2, 4, 9, 9, 5, 4) * 2**-0.5).softmax(dim=3)  # 8 channels in 4 heads
            expected = block.projection(plain_window_attention(expected, attention))
        torch.testing.assert_close(block(x, foreground, background), expected)


@pytest.mark.slow
def test_export_of_the_released_form_serves_other_sizes():
    torch.manual_seed(0)
    block = ContrastDrivenFeatureAggregation(4, 8, form="released").eval()

    def maps(batch, height, width):
        return tuple(torch.randn(batch, channels, height, width) for channels in (4, 8, 8))

    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    program = torch.export.export(block, maps(2, 8, 6), dynamic_shapes=(sizes, sizes, sizes))
    for size in ((1, 5, 9), (3, 16, 2)):
        given = maps(*size)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(*given), block(*given))
