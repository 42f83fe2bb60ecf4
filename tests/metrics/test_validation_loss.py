"""The mask loss of the validation images."""

import pytest
import torch
from monai.engines import SupervisedEvaluator
from torch import nn

from condseg_monai.losses.mask import mask_loss
from condseg_monai.metrics.validation_loss import ValidationLoss


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_over_images_of_the_mask_loss_of_logits_whatever_the_batches(channels):
    torch.manual_seed(0)
    network = nn.Conv2d(3, channels, 1)
    images = torch.rand(5, 3, 8, 8)
    labels = torch.randint(0, max(2, channels), (5, 1, 8, 8)).float()
    batches = [{"image": images[part], "label": labels[part]} for part in (slice(0, 3), slice(3, 5))]
    passes = []
    network.register_forward_hook(lambda *_: passes.append(1))
    loss = ValidationLoss(lambda_ce=0.5, balance=0.25)
    evaluator = SupervisedEvaluator(
        "cpu",
        batches,
        network,
        postprocessing=lambda data: {**data, "pred": data["pred"] * 0},
        key_val_metric={"val_loss": loss},
    )
    evaluator.run()
    assert len(passes) == 2
    expected = mask_loss(network(images), labels, lambda_ce=0.5, balance=0.25).item()
    assert evaluator.state.metrics["val_loss"] == pytest.approx(expected)
    evaluator.run()
    assert evaluator.state.metrics["val_loss"] == pytest.approx(expected)


def test_logits_that_are_not_finite_are_no_background():
    loss = ValidationLoss()
    loss.reset()
    loss.update((torch.full((1, 1, 2, 2), torch.nan), torch.zeros(1, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"validation loss is not finite: .* lower --learning_rate"):
        loss.compute()
