"""Loss of stage 2."""

from __future__ import annotations

import math

import pytest
import torch

from condseg_monai import ConDSegLoss
from condseg_monai.losses.mask import mask_loss
from condseg_monai.losses.region_weighting import region_weight
from condseg_monai.networks.nets import ConDSegOutput
from tests import oracle

WEIGHTS = {
    "lambda_mask": ("mask", None),
    "lambda_foreground": ("foreground", "foreground_weight"),
    "lambda_background": ("background", "background_weight"),
    "lambda_complementary": ("complementary", None),
}


@pytest.fixture
def output(make_logits) -> ConDSegOutput:
    return ConDSegOutput(*(make_logits(seed) for seed in range(4)))


@pytest.mark.parametrize("ceiling", [100.0, 1.8])
def test_equals_the_oracle(output, target, ceiling):
    output.foreground[1] -= 20  # an empty foreground: beta at its ceiling
    expected = oracle.stage2_loss(target.numpy(), *(logits.numpy() for logits in output), ceiling=ceiling)
    value = ConDSegLoss(ceiling=ceiling)(output, target)
    torch.testing.assert_close(value.item(), expected, rtol=0, atol=1e-6)


def test_hand_worked_undecided_network():
    target = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    loss = ConDSegLoss()(ConDSegOutput(*torch.zeros(4, 1, 1, 1, 4)), target)
    # each mask loss: log 2 + Dice of probability 1/2 against 1 pixel (or, for the background, 3 pixels) of 4
    small, large = math.log(2) + 1 - 2 * 0.5 / (2 + 1), math.log(2) + 1 - 2 * 1.5 / (2 + 3)
    beta = 1 / math.tanh(0.5)
    assert loss.item() == pytest.approx(small + beta * small + beta * large + 1 / 3, abs=1e-5)


def test_perfect_regions_cost_nothing():
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2] = 1
    foreground = 200 * target - 100
    output = ConDSegOutput(foreground, foreground, -foreground, torch.full_like(foreground, -100))
    assert ConDSegLoss()(output, target).item() == pytest.approx(0, abs=1e-6)


def test_terms_are_the_unweighted_losses_and_the_betas(output, target):
    loss = ConDSegLoss(lambda_mask=2, lambda_foreground=3, lambda_background=4, lambda_complementary=5)
    assert loss.terms == {}
    loss(ConDSegOutput(*(logits.requires_grad_() for logits in output)), target)
    assert all(term.ndim == 0 and not term.requires_grad for term in loss.terms.values())
    probs = torch.cat(output[1:], dim=1).softmax(dim=1).detach()
    expected = {
        "mask": mask_loss(output.mask, target),
        "foreground": mask_loss(output.foreground, target),
        "background": mask_loss(output.background, 1 - target),
        "complementary": torch.tensor(oracle.complementary_loss(probs.numpy()).mean()),
        "foreground_weight": region_weight(output.foreground).mean(),
        "background_weight": region_weight(output.background).mean(),
    }
    assert list(loss.terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(loss.terms[name], value.detach(), msg=name)
    with pytest.raises(ValueError, match="target must be"):
        loss(output, target[:1])
    assert loss.terms == {}


def test_class_balance_is_that_of_the_mask_alone(output, target):
    loss, plain = ConDSegLoss(class_balance=0.5, lambda_ce=0.2), ConDSegLoss(lambda_ce=0.2)
    difference = plain(output, target) - loss(output, target)
    torch.testing.assert_close(loss.terms["mask"], mask_loss(output.mask, target, lambda_ce=0.2, balance=0.5))
    assert loss.terms["mask"] != plain.terms["mask"]
    torch.testing.assert_close(difference, plain.terms["mask"] - loss.terms["mask"])


@pytest.mark.parametrize("factor", [0.0, 0.4, 2.5])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_each_weight_moves_its_term_alone(output, target, weight, factor):
    one = ConDSegOutput(
        *(logits[:1] for logits in output)
    )  # of one image, beta times the loss is the product of the terms
    plain, weighted = ConDSegLoss(), ConDSegLoss(**{weight: factor})
    difference = weighted(one, target[:1]) - plain(one, target[:1])
    term, beta = WEIGHTS[weight]
    moved = plain.terms[term] * (plain.terms[beta] if beta else 1)
    torch.testing.assert_close(difference, (factor - 1) * moved)
    assert weighted.terms == plain.terms


def test_uncertainty_is_taught_by_the_complementary_term_alone(output, target):
    output.uncertainty.requires_grad_()
    (gradient,) = torch.autograd.grad(ConDSegLoss()(output, target), output.uncertainty)
    assert gradient.abs().max() > 0
    (silent,) = torch.autograd.grad(ConDSegLoss(lambda_complementary=0.0)(output, target), output.uncertainty)
    assert (silent == 0).all()


def test_weight_gradient_follows_the_product_rule(output, target):
    output.foreground.requires_grad_()
    only_foreground = {"lambda_mask": 0.0, "lambda_background": 0.0, "lambda_complementary": 0.0}
    beta = region_weight(output.foreground)
    term = mask_loss(output.foreground, target, reduction="none")

    as_written = ConDSegLoss(**only_foreground)(output, target)
    (gradient,) = torch.autograd.grad(as_written, output.foreground)
    (expected,) = torch.autograd.grad((beta * term).mean(), output.foreground, retain_graph=True)
    torch.testing.assert_close(gradient, expected)

    constant = ConDSegLoss(**only_foreground, weight_gradient=False)(output, target)
    (gradient,) = torch.autograd.grad(constant, output.foreground)
    (expected,) = torch.autograd.grad((beta.detach() * term).mean(), output.foreground)
    torch.testing.assert_close(gradient, expected)
    assert constant == as_written


@pytest.mark.parametrize(("weight_gradient", "best"), [(True, 0.61), (False, 0.07)])
def test_best_constant_foreground_for_a_small_lesion(weight_gradient, best):
    """The figures of the class docstring: gradient descent on a single logit for a lesion that covers 5 %."""
    target = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    target[..., :5, 0] = 1
    loss = ConDSegLoss(0.0, 1.0, 0.0, 0.0, weight_gradient=weight_gradient)
    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logit], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss(ConDSegOutput(*(logit.expand(target.shape) for _ in range(4))), target).backward()
        optimizer.step()
    assert logit.sigmoid().item() == pytest.approx(best, abs=0.01)


def test_output_of_eval_mode_raises(target):
    with pytest.raises(TypeError, match=r"got Tensor without mask; ConDSeg returns all four in train mode"):
        ConDSegLoss()(torch.zeros(3, 1, 5, 7), target)


@pytest.mark.parametrize("name", ConDSegOutput._fields)
def test_map_of_another_size_raises(output, target, name):
    wrong = output._replace(**{name: torch.zeros(3, 1, 7, 5)})
    with pytest.raises(ValueError, match=rf"target must be \(B, 1, H, W\) for input\.{name} "):
        ConDSegLoss()(wrong, target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({name: -1}, rf"{name} must be in \[0, inf\), got -1") for name in (*WEIGHTS, "lambda_ce")),
        ({"ceiling": 0.5}, r"ceiling must be in \(1, inf\)"),
        ({"class_balance": 1.1}, r"class_balance must be in \[0, 1\]"),
    ],
)
def test_impossible_factors_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConDSegLoss(**arguments)


class TestSeveralClasses:
    @pytest.fixture
    def output(self, make_logits, class_logits) -> ConDSegOutput:
        return ConDSegOutput(class_logits(0), *(make_logits(seed) for seed in range(1, 4)))

    def test_mask_has_classes_and_the_regions_any_organ(self, output, class_target):
        """The oracle of Eq. 15, its mask term replaced; regions as if the label were binary."""
        loss = ConDSegLoss()
        value = loss(output, class_target)
        organ = (class_target > 0).numpy().astype(float)
        regions = [logits.numpy() for logits in output[1:]]
        binary = oracle.stage2_loss(organ, regions[0], *regions)  # the mask's term is that of the foreground here
        binary_mask = oracle.mask_loss(organ, oracle.sigmoid(regions[0])).mean()
        expected = binary - binary_mask + mask_loss(output.mask, class_target).item()
        assert value.item() == pytest.approx(expected, abs=1e-9)
        assert loss.terms["mask"] == mask_loss(output.mask, class_target)
        torch.testing.assert_close(loss.terms["background"], mask_loss(output.background, (class_target == 0)))

    def test_perfect_output_costs_nothing(self, class_target):
        mask = 200.0 * torch.nn.functional.one_hot(class_target[:, 0], 4).permute(0, 3, 1, 2) - 100
        foreground = 200.0 * (class_target > 0) - 100
        output = ConDSegOutput(mask, foreground, -foreground, torch.full_like(foreground, -100))
        # an image without any organ has no foreground: beta is at its ceiling, the loss at 0
        assert ConDSegLoss()(output, class_target).item() == pytest.approx(0, abs=1e-5)

    def test_a_label_beyond_the_channels_raises(self, output, class_target):
        with pytest.raises(ValueError, match=r"target must hold class numbers 0 to 3, as many as input\.mask has"):
            ConDSegLoss()(output, class_target + 1)
