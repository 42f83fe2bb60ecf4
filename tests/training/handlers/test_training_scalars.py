import pytest
import torch
from torch import nn

from condseg_monai.training.handlers.training_scalars import TrainingScalars


def optimizer_with_groups(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.Adam([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def test_loss_terms_and_learning_rates_have_names():
    loss = nn.MSELoss()
    loss.terms = {"mask": torch.tensor(0.25), "complementary": torch.tensor(0.5)}
    scalars = TrainingScalars(loss, optimizer_with_groups(1e-5, 1e-4), ["encoder", "decoder"])
    assert scalars({"loss": torch.tensor(0.75)}) == {
        "loss/total": 0.75,
        "loss/mask": 0.25,
        "loss/complementary": 0.5,
        "learning_rate/encoder": 1e-5,
        "learning_rate/decoder": 1e-4,
    }


def test_learning_rate_is_the_current_one():
    optimizer = optimizer_with_groups(0.1)
    scalars = TrainingScalars(nn.MSELoss(), optimizer, ["all"])
    optimizer.param_groups[0]["lr"] = 0.01
    assert scalars({"loss": torch.tensor(1.0)})["learning_rate/all"] == 0.01


def test_wrong_number_of_names_raises():
    with pytest.raises(ValueError, match="must name the 2 parameter groups"):
        TrainingScalars(nn.MSELoss(), optimizer_with_groups(1e-5, 1e-4), ["all"])
