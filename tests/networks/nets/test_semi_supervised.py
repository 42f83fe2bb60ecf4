"""Semi-supervised student network: one pass over labelled, unlabelled and perturbed images."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai import ConDSeg, DECSeg, SemiSupervisedNetwork
from tests.networks.nets.test_dec_seg import FiveStages

L, U = 2, 3


class Marking(nn.Module):
    """Logits that tell which image they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x[:, :1]


def images(size=(64, 96)):
    numbers = torch.arange(float(L + 2 * U)).view(-1, 1, 1, 1)
    return numbers.expand(-1, 3, *size).clone()


def test_every_image_is_where_it_belongs():
    network, seen = SemiSupervisedNetwork(Marking()).train(), []
    for generator in network.generators:
        generator.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0][:, 0, 0, 0].tolist()))
    output = network(images(), labeled=L)
    assert output.labeled[:, 0, 0, 0].tolist() == [0, 1]
    assert [logits[:, 0, 0, 0].tolist() for logits in output.clean] == [[2, 3, 4]]
    assert [logits[:, 0, 0, 0].tolist() for logits in output.perturbed] == [[5, 6, 7]]
    groups = [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert [[scale[:, 0, 0, 0].tolist() for scale in pair] for pair in output.scales] == [
        [group] * 2 for group in groups
    ]
    (first, perturbed), (second, clean) = output.rebuilt
    assert perturbed[:, 0, 0, 0].tolist() == [5, 6, 7]
    assert clean[:, 0, 0, 0].tolist() == [2, 3, 4]
    assert first.shape == second.shape == (U, 3, 64, 96)
    assert seen == [[2, 3, 4], [5, 6, 7]]  # each generator the other's prediction


def test_generators_draw_the_images_before_normalisation():
    network, unit = SemiSupervisedNetwork(Marking()).train(), images()[L:] / 10
    (_, perturbed), (_, clean) = network(images(), labeled=L, images=unit).rebuilt
    assert torch.equal(torch.cat([clean, perturbed]), unit)
    with pytest.raises(ValueError, match=r"images must be \(6, 3, 64, 96\), as x without the labelled, got \(5, 3"):
        network(images(), labeled=L, images=unit[1:])


def test_a_student_of_one_scale_is_shown_a_smaller_copy():
    sizes = []
    network = SemiSupervisedNetwork(Marking()).train()
    network.student.register_forward_hook(lambda _module, inputs, _output: sizes.append(tuple(inputs[0].shape)))
    x = torch.rand(L + 2 * U, 3, 70, 128)
    output = network(x, labeled=L)
    assert sizes == [(8, 3, 70, 128), (8, 3, 64, 64)]
    smaller = F.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False)[:, :1]
    expected = F.interpolate(smaller, size=(70, 128), mode="bilinear", align_corners=False)
    torch.testing.assert_close(torch.cat([down for _, down in output.scales]), expected)


def test_dec_seg_brings_its_own_scales():
    torch.manual_seed(0)
    network = SemiSupervisedNetwork(DECSeg(encoder=FiveStages())).train()
    passes = []
    network.student.register_forward_hook(lambda *_: passes.append(1))
    output = network(torch.rand(L + 2 * U, 3, 64, 64), labeled=L)
    assert passes == [1]
    assert len(output.clean) == len(output.perturbed) == 3
    for (full, down), expected in zip(output.scales[1:], (output.clean, output.perturbed), strict=True):
        assert torch.equal(full, expected[0]) and torch.equal(down, expected[1])
    assert output.labeled.mask.shape == (L, 1, 64, 64)


@pytest.mark.parametrize(
    "student", [DECSeg(encoder=FiveStages()), ConDSeg(encoder="resnet18", decoder_channels=8), nn.Conv2d(3, 1, 1)]
)
def test_every_part_is_trained(student):
    torch.manual_seed(0)
    network = SemiSupervisedNetwork(student).train()
    output = network(torch.rand(5, 3, 64, 64), labeled=1)
    tensors = [*(output.labeled if isinstance(output.labeled, tuple) else [output.labeled])]
    tensors += [scale for pair in output.scales for scale in pair]
    tensors += [*output.clean, *output.perturbed, *(drawn for drawn, _ in output.rebuilt)]
    sum(tensor.square().mean() for tensor in tensors).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_what_is_not_asked_for_is_not_computed():
    network = SemiSupervisedNetwork(Marking(), scales=False, generative=False).train()
    output = network(images(), labeled=L)
    assert output.scales == [] and output.rebuilt == []
    assert list(network.generators.parameters()) == []


def test_without_unlabelled_images_nothing_is_rebuilt_and_evaluation_is_the_student_s():
    network = SemiSupervisedNetwork(Marking()).train()
    output = network(images()[:L], labeled=L)
    assert output.rebuilt == [] and output.clean[0].shape[0] == 0
    assert torch.equal(network.eval()(images()), images()[:, :1])


def test_wrong_numbers_and_outputs_raise():
    with pytest.raises(ValueError, match="L \\+ 2 U"):
        SemiSupervisedNetwork(Marking()).train()(images(), labeled=3)

    class Pair(NamedTuple):
        logits: Tensor

    class Other(nn.Module):
        def forward(self, x):
            return Pair(x)

    with pytest.raises(TypeError, match="mask logits"):
        SemiSupervisedNetwork(Other()).train()(images(), labeled=L)
