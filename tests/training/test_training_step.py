"""What a GPU needs of a training step, tested without one: no waiting for values, one device, losses in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from condseg_monai import (
    ConDSeg,
    ConDSegLoss,
    ConDSegStage1,
    ConsistencyReinforcementLoss,
    DECSeg,
    DECSegLoss,
    FlexibleUNet,
    MedDisSeg,
    MedDisSegLoss,
    MedDisSegStage1,
    SemiSupervisedLoss,
    SemiSupervisedNetwork,
)
from condseg_monai.data.images.normalization import normalize_image
from condseg_monai.losses.dispersive import DispersiveLoss
from condseg_monai.losses.mask import MaskLoss
from condseg_monai.losses.released import ReleasedConDSegLoss, ReleasedConsistencyReinforcementLoss
from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation
from condseg_monai.networks.encoders import ENCODERS


class Step(NamedTuple):
    """Network and loss, and how many images the network sees for each label."""

    network: Callable[[], nn.Module]
    loss: Callable[[], nn.Module]
    views: int = 1
    arguments: dict[str, Any] = {}  # noqa: RUF012


SMALL = {"encoder": "resnet18", "decoder_channels": 8}
ENCODER = {"encoder": "resnet18"}
SEMI_SUPERVISED = {"labeled": 2}


def dispersive(**arguments: Any) -> Step:
    def loss() -> nn.Module:
        return MedDisSegLoss(ConsistencyReinforcementLoss(), DispersiveLoss(**arguments))

    return Step(lambda: MedDisSegStage1(**ENCODER), loss, 2)


STEPS = {
    "stage 1": Step(lambda: ConDSegStage1(**ENCODER), ConsistencyReinforcementLoss, 2),
    "stage 1, classes": Step(
        lambda: ConDSegStage1(out_channels=3, **ENCODER), lambda: ConsistencyReinforcementLoss(class_balance=0.5), 2
    ),
    "stage 1, released loss": Step(lambda: ConDSegStage1(**ENCODER), ReleasedConsistencyReinforcementLoss, 2),
    "stage 2": Step(lambda: ConDSeg(**SMALL), ConDSegLoss),
    "stage 2, classes": Step(lambda: ConDSeg(out_channels=3, dropout=0.1, **SMALL), ConDSegLoss),
    "stage 2, released": Step(lambda: ConDSeg(cdfa="released", **SMALL), ReleasedConDSegLoss),
    "stage 2, selective": Step(lambda: ConDSeg(checkpointing="selective", **SMALL), ConDSegLoss),
    "stage 2, block": Step(lambda: ConDSeg(checkpointing="block", **SMALL), ConDSegLoss),
    "Med-DisSeg": Step(lambda: MedDisSeg(**SMALL), lambda: MedDisSegLoss(ConDSegLoss())),
    **{
        f"Med-DisSeg stage 1, {kind}": dispersive(kind=kind)
        for kind in ("infonce_l2", "infonce_cosine", "hinge", "covariance")
    },
    "Med-DisSeg stage 1, released": dispersive(kind="infonce_l2", normalize=False),
    "DEC-Seg": Step(lambda: DECSeg(**ENCODER), DECSegLoss),
    "DEC-Seg, semi-supervised": Step(
        lambda: SemiSupervisedNetwork(DECSeg(**ENCODER)), lambda: SemiSupervisedLoss(DECSegLoss()), 2, SEMI_SUPERVISED
    ),
    "ConDSeg, semi-supervised": Step(
        lambda: SemiSupervisedNetwork(ConDSeg(**SMALL)), lambda: SemiSupervisedLoss(ConDSegLoss()), 2, SEMI_SUPERVISED
    ),
    "UNet's decoder": Step(lambda: FlexibleUNet(**ENCODER), MaskLoss),
}
ENCODER_STEPS = {name: Step(lambda name=name: FlexibleUNet(encoder=name), MaskLoss) for name in ENCODERS}
# Several seconds each. What is left are the stages of ConDSeg, the first of Med-DisSeg and the other encoders.
SLOW = {
    *("stage 2, classes", "stage 2, released", "stage 2, selective", "stage 2, block", "Med-DisSeg"),
    *("DEC-Seg", "DEC-Seg, semi-supervised", "ConDSeg, semi-supervised", "pvt_v2_b2", "res2net50_v1b"),
}


def named(*steps: str) -> list[Any]:
    """Names of steps as parameters of a test, those of ``SLOW`` marked so."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in steps]


class NoCopies(TorchFunctionMode):
    """Refuse to make tensors on a device of numbers or of tensors of the CPU, since a GPU has to wait for them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.device.type != "cpu":
            copies = func in (torch.tensor, torch.as_tensor, Tensor.new_tensor)
            assert not copies and not any(isinstance(x, Tensor) and x.device.type == "cpu" for x in args), func
        return result


@pytest.mark.parametrize("name", named(*STEPS, *ENCODER_STEPS))
def test_step_reads_no_value_and_has_all_tensors_on_the_device(name):
    """Tensors of the meta device have no values: ``.item()``, ``.cpu()``, ``nonzero`` and ``if tensor`` raise."""
    step = {**STEPS, **ENCODER_STEPS}[name]
    network, loss = step.network().to("meta").train(), step.loss()
    images, target = (torch.empty(2 * n, c, 64, 64, device="meta") for n, c in ((step.views, 3), (1, 1)))
    with NoCopies():
        loss(network(normalize_image(images, "imagenet"), **step.arguments), target).backward()
        with torch.no_grad():
            assert network.eval()(images).device.type == "meta"


def test_these_tests_see_what_they_forbid():
    tensor = torch.ones(2, device="meta")
    for read in (
        torch.Tensor.cpu,
        torch.Tensor.nonzero,
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: bool(x[0]),
    ):
        with pytest.raises((NotImplementedError, RuntimeError)):
            read(tensor)
    with NoCopies(), pytest.raises(AssertionError):
        tensor.new_tensor(1.0)
    with NoCopies(), pytest.raises(AssertionError):
        torch.ones(2).to("meta")


@pytest.mark.parametrize("name", named(*STEPS))
def test_loss_and_its_terms_are_float32_under_autocast(name):
    step = STEPS[name]
    torch.manual_seed(0)
    network, loss = step.network().train(), step.loss()
    images, target = torch.rand(2 * step.views, 3, 32, 32), torch.randint(0, 2, (2, 1, 32, 32)).float()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images, **step.arguments)
        value = loss(output, target)
        terms = dict(getattr(loss, "terms", {}))
    assert {term.dtype for term in (value, *terms.values())} == {torch.float32}
    torch.testing.assert_close(value, loss(output, target), rtol=0, atol=0)
    for key, term in getattr(loss, "terms", {}).items():
        torch.testing.assert_close(terms[key], term, rtol=0, atol=0)
    value.backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())


def test_attention_is_a_softmax_in_float32_under_autocast():
    torch.manual_seed(0)
    logits = torch.randn(1, 81, 3, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = ContrastDrivenFeatureAggregation(4, 4)._attention(logits)
    expected = logits.float().view(1, 1, 9, 9, 3, 3).softmax(dim=3)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
