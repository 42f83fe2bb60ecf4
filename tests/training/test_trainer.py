import logging
import math
import signal

import pytest
import torch
from ignite.engine import Events
from torch import nn

from condseg_monai.training.run_folder import RunFolder
from condseg_monai.training.trainer import GuardedTrainer, NonFiniteLossError, RunEvents
from condseg_monai.utils.interruption import Terminated
from tests.runs import weights


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
    assert "--resume true" in message
    learned = dict(trainer.network.named_parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in learned.items())


def test_parameter_ruined_by_a_gradient_stops_before_the_epoch_is_saved():
    trainer = trainer_for(batches(1.0, 2.0))
    trainer.network[1].bias.register_hook(lambda gradient: gradient * math.nan)
    trainer.loss_function.forward = lambda pred, target: trainer.network[1].bias.sum().nan_to_num()  # finite throughout
    assert_stops_before_saving(trainer, r"1 of the network's parameters .* after epoch 1, 1\.bias for one")


def test_infinite_batchnorm_statistics_stop_before_the_epoch_is_saved():
    data = batches(0.0)
    data[0]["image"] *= 3e38  # 0 and 3e38: the variance overflows, the loss does not
    trainer = trainer_for(data)
    trainer.loss_function.forward = lambda pred, target: trainer.network[1].bias.sum()
    assert_stops_before_saving(trainer, r"buffers are not finite after epoch 1, 0\.running_")


def assert_stops_before_saving(trainer, message):
    saved = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, saved.append)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(NonFiniteLossError, match=message):
        trainer.run()
    assert saved == []


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_batch_too_small_for_normalisation_names_the_options(norm):
    data = [{"image": torch.zeros(1, 3, 16, 16), "label": torch.zeros(1, 1, 16, 16)}]
    network = nn.Sequential(nn.Conv2d(3, 2, 16), norm(2))
    trainer = GuardedTrainer("cpu", 1, data, network, torch.optim.Adam(network.parameters()), Loss(), decollate=False)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(ValueError, match=r"1 image\(s\) of 16x16 pixels .* raise --image_size or --batch_size"):
        trainer.run()


def test_run_stopped_from_the_keyboard_says_so():
    def stop(engine):
        raise KeyboardInterrupt

    trainer = trainer_for(batches(1.0, 2.0, 3.0))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(KeyboardInterrupt, match=r"stopped by Ctrl-C in epoch 1 of 1"):
        trainer.run()


def test_sigterm_ends_a_run_as_ctrl_c_does_and_is_the_program_s_again_after_it():
    trainer = trainer_for(batches(1.0, 2.0))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: signal.raise_signal(signal.SIGTERM))
    ended = []
    trainer.add_event_handler(RunEvents.ENDED, lambda engine: ended.append(engine.state.interrupted_by))
    with pytest.raises(Terminated, match="stopped by SIGTERM in epoch 1 of 1, before anything was saved"):
        trainer.run()
    assert ended == ["SIGTERM"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_interrupted_stage_2_names_the_option_that_keeps_stage_1(tmp_path):
    (tmp_path / "stage1.pt").write_bytes(b"")
    trainer = trainer_for(batches(1.0))
    trainer.run_folder = RunFolder({"ckpt_dir": tmp_path}, "stage2", ["model.pt"])
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="the same command with --resume true keeps what is there"):
        trainer.run()


def test_error_that_an_interruption_caused_is_the_interruption():
    def stop(engine):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos")

    trainer = trainer_for(batches(1.0))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(KeyboardInterrupt, match="stopped by Ctrl-C"):
        trainer.run()


def test_batch_without_file_names_says_so():
    data = batches(math.nan)
    del data[0]["image_file"]
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(NonFiniteLossError, match="files of the batch: not known"):
        trainer_for(data).run()
