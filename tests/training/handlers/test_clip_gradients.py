"""Gradient clipping."""

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from condseg_monai.training.handlers.clip_gradients import ClipGradients


def step_with(max_norm):
    """Return how far one step of SGD with rate 1 moves two weights whose gradient is (3, 4)."""
    network = nn.Linear(2, 1, bias=False)
    before = network.weight.detach().clone()
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": torch.tensor([[3.0, 4.0]]), "label": torch.zeros(1, 1)}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=lambda output, label: output.sum(),
        train_handlers=[ClipGradients(max_norm)],
        decollate=False,
    )
    trainer.run()
    return before - network.weight.detach()


def test_a_larger_gradient_is_scaled_to_the_norm_and_a_smaller_one_kept():
    torch.testing.assert_close(step_with(1.0), torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(step_with(10.0), torch.tensor([[3.0, 4.0]]))


def test_a_norm_of_zero_raises():
    with pytest.raises(ValueError, match="gradient_clip must be positive or null, got 0"):
        ClipGradients(0)
