"""What every loss holds: gradients, images that do not depend on each other, precision, and checks of its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from condseg_monai import ConDSegLoss, ConsistencyReinforcementLoss
from condseg_monai.losses.complementary import complementary_loss
from condseg_monai.losses.consistency import consistency_loss
from condseg_monai.losses.mask import mask_loss
from condseg_monai.losses.region_weighting import region_weight
from condseg_monai.networks.nets import ConDSegOutput


class Case(NamedTuple):
    """A loss as a function of its ``(B, channels, H, W)`` inputs and a target, and their numbers of channels."""

    loss: Callable[..., Tensor]
    channels: tuple[int, ...]
    classes: int = 2


def stage1(clean: Tensor, augmented: Tensor, target: Tensor) -> Tensor:
    return ConsistencyReinforcementLoss()(torch.cat([clean, augmented]), target)


def stage2(*inputs: Tensor) -> Tensor:
    return ConDSegLoss()(ConDSegOutput(*inputs[:4]), inputs[4])


CASES = {
    "mask": Case(mask_loss, (1,)),
    "balanced_mask": Case(lambda x, target: mask_loss(x, target, balance=0.5), (1,)),
    "class_mask": Case(mask_loss, (4,), 4),
    "balanced_class_mask": Case(lambda x, target: mask_loss(x, target, balance=1.0), (4,), 4),
    "consistency": Case(lambda x, y, _: consistency_loss(x, y), (1, 1)),
    "class_consistency": Case(lambda x, y, _: consistency_loss(x, y), (4, 4)),
    "region_weight": Case(lambda x, _: region_weight(x).mean(), (1,)),
    "complementary": Case(lambda x, _: complementary_loss(x), (3,)),
    "stage1": Case(stage1, (1, 1)),
    "stage1_classes": Case(stage1, (4, 4), 4),
    "stage2": Case(stage2, (1, 1, 1, 1)),
    "stage2_classes": Case(stage2, (4, 1, 1, 1), 4),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def arguments(case: Case, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Float64 inputs and labels of three images: a mixed one, an empty one, a full one."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [3 * torch.randn(3, n, 4, 3, generator=generator, dtype=torch.float64) for n in case.channels]
    target = torch.randint(0, case.classes, (3, 1, 4, 3), generator=generator)
    target[1], target[2] = 0, case.classes - 1
    return inputs, target.double()


def test_gradcheck(case: Case):
    inputs, target = arguments(case)
    inputs = [value.requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(lambda *x: case.loss(*x, target), inputs)


def test_batch_value_is_the_mean_of_its_images(case: Case):
    """So it depends neither on the batch size nor on the number of GPUs."""
    inputs, target = arguments(case, 1)
    alone = [case.loss(*(value[[i]] for value in inputs), target[[i]]) for i in range(3)]
    torch.testing.assert_close(case.loss(*inputs, target), torch.stack(alone).mean())


def test_autocast_changes_nothing(case: Case):
    inputs, target = arguments(case, 2)
    inputs = [value.float() for value in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = case.loss(*inputs, target.float())
    torch.testing.assert_close(inside, case.loss(*inputs, target.float()), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_saturated_half_precision_is_finite(case: Case, dtype: torch.dtype):
    for signs in ((1, 1, 1, 1), (1, 1, -1, -1), (-1, -1, 1, 1), (-1, 1, -1, 1)):
        for label in (0.0, case.classes - 1.0):
            inputs = [
                torch.full((2, n, 4, 4), -1e4 * s, dtype=dtype) for s, n in zip(signs, case.channels, strict=False)
            ]
            for value in inputs:
                value[:, 0] *= -1
                value.requires_grad_()
            loss = case.loss(*inputs, torch.full((2, 1, 4, 4), label))
            loss.backward()
            assert loss.dtype == torch.float32 and loss.isfinite()
            assert all(value.grad is None or value.grad.isfinite().all() for value in inputs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_saturated_logits_are_finite_under_cuda_autocast(case: Case):
    inputs = [
        torch.full((2, n, 4, 4), 1e4, dtype=torch.float16, device="cuda", requires_grad=True) for n in case.channels
    ]
    with torch.autocast("cuda", dtype=torch.float16):
        loss = case.loss(*inputs, torch.zeros(2, 1, 4, 4, device="cuda"))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert all(value.grad is None or value.grad.isfinite().all() for value in inputs)


def test_integer_inputs_and_other_shapes_raise(case: Case):
    inputs, target = arguments(case)
    with pytest.raises(TypeError, match=r"must be floating point, got torch\.int64"):
        case.loss(*(value.long() for value in inputs), target)
    with pytest.raises(ValueError, match=r"must be \("):
        case.loss(*(value[:, :, 0] for value in inputs), target)
    with pytest.raises(ValueError, match=r"must be \("):
        case.loss(*(value[:, :0] for value in inputs), target)
