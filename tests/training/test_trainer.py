import logging
import math

import pytest
import torch
from ignite.engine import Events
from torch import nn

from condseg_monai.training.trainer import GuardedTrainer, NonFiniteLossError


class Loss(nn.Module):
    """The mean of the prediction, in two terms."""

    def forward(self, pred, target):
        self.terms = {"low": pred.mean().detach() / 2, "high": pred.mean().detach() / 2}
        return pred.mean()


def batches(*values):
    """A batch for each value, which every pixel of its image has."""
    return [
        {
            "image": torch.full((2, 1, 2, 2), value) + torch.arange(2.0).view(2, 1, 1, 1),
            "label": torch.zeros(2, 1, 2, 2),
            "image_file": [f"folder/{i}a.png", f"folder/{i}b.png"],
        }
        for i, value in enumerate(values)
    ]


def trainer_for(data, device="cpu", **kwargs):
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    return GuardedTrainer(device, 1, data, network, optimizer, Loss(), decollate=False, **kwargs)


def weights(trainer):
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_loss_stops_and_names_epoch_files_and_terms(value):
    trainer = trainer_for(batches(1.0, value, 2.0))
    before = {}
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: before.update(weights(engine)))
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(NonFiniteLossError) as error:
        trainer.run()
    message = str(error.value)
    assert "(loss, low, high) in epoch 1, iteration 2: loss nan, low nan, high nan" in message
    assert "folder/1a.png, folder/1b.png" in message
    assert "--skip_nonfinite true" in message
    learned = dict(trainer.network.named_parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in learned.items())


def test_skipped_batch_leaves_no_trace_and_is_counted(caplog):
    with_nan = trainer_for(batches(1.0, math.nan, 2.0, math.inf, 3.0), skip_nonfinite=True)
    counts = []
    with_nan.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: counts.append(engine.state.output["skipped_batches"])
    )
    with_nan.run()
    without = trainer_for(batches(1.0, 2.0, 3.0))
    without.run()
    assert same(weights(with_nan), weights(without))  # BatchNorm's statistics too
    for first, second in zip(with_nan.optimizer.state.values(), without.optimizer.state.values(), strict=True):
        assert same(first, second)
    assert counts == [0, 1, 1, 2, 2]
    assert with_nan.state.skipped_batches == 2
    assert "Skipped a batch (1 so far)" in caplog.text
    assert "folder/1a.png" in caplog.text
    assert "folder/3a.png" in caplog.text


@pytest.mark.parametrize("skip", [False, True])
def test_weights_ruined_by_a_gradient_stop_before_the_epoch_is_saved(skip):
    trainer = trainer_for(batches(1.0, 2.0), skip_nonfinite=skip)
    trainer.network[1].bias.register_hook(lambda gradient: gradient * math.nan)
    saved = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, saved.append)
    trainer.loss_function.forward = lambda pred, target: trainer.network[1].bias.sum().nan_to_num()  # finite throughout
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(NonFiniteLossError, match=r"1 of the network's parameters .* after epoch 1, 1\.bias for one"):
        trainer.run()
    assert saved == []


def test_finite_losses_train_as_monai_does():
    trainers = [trainer_for(batches(1.0, 2.0), skip_nonfinite=skip) for skip in (False, True)]
    for trainer in trainers:
        trainer.run()
    assert same(weights(trainers[0]), weights(trainers[1]))
    assert trainers[1].state.skipped_batches == 0


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_batch_too_small_for_normalisation_names_the_knobs(norm):
    data = [{"image": torch.zeros(1, 3, 16, 16), "label": torch.zeros(1, 1, 16, 16)}]
    network = nn.Sequential(nn.Conv2d(3, 2, 16), norm(2))
    trainer = GuardedTrainer("cpu", 1, data, network, torch.optim.Adam(network.parameters()), Loss(), decollate=False)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(ValueError, match=r"1 image\(s\) of 16x16 pixels .* raise image_size or batch_size"):
        trainer.run()


def test_run_stopped_from_the_keyboard_tells_its_handlers_and_how_to_go_on():
    def stop(engine):
        if engine.state.iteration == 2:
            raise KeyboardInterrupt

    trainer, told = trainer_for(batches(1.0, 2.0, 3.0)), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    trainer.add_event_handler(Events.INTERRUPT, lambda engine: told.append(engine.state.iteration))
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(KeyboardInterrupt, match=r"stopped in epoch 1 of 1; .* --resume true goes on"):
        trainer.run()
    assert told == [2]


def test_batch_without_file_names_says_so():
    data = batches(math.nan)
    del data[0]["image_file"]
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(NonFiniteLossError, match="files of the batch: not known"):
        trainer_for(data).run()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_skipping_leaves_the_gradient_scaler_alone():
    trainer = trainer_for(batches(1.0, math.nan, 2.0), "cuda", skip_nonfinite=True, amp=True)
    trainer.run()
    assert trainer.state.skipped_batches == 1
    assert trainer.scaler.get_scale() == 65536.0
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
