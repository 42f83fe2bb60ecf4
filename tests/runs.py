"""Trainings by the configs, and what they leave in their folders."""

import pytest
import torch
from ignite.engine import Events


class InterruptedRunError(Exception):
    """Ends a training in the midst of an epoch."""


def folders(path):
    """The options that put what a training writes into a folder."""
    return {"ckpt_dir": str(path / "models"), "output_dir": str(path / "eval")}


def names(path):
    """The files of a folder, without locks."""
    return sorted(file.name for file in path.iterdir() if file.suffix != ".lock")


def state(path):
    """What a checkpoint holds."""
    return torch.load(path, map_location="cpu", weights_only=True)


def weights(trainer):
    """A copy of the weights that a trainer's network has now."""
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def train(open_config, files, path, interrupt=None, **options):
    """Run config files in this process and return the loss of each iteration; stop before the step of one of them."""
    workflow = open_config(*files, **folders(path), **options)
    workflow.initialize()
    losses = {}

    def stop(engine):
        if engine.state.iteration == interrupt:
            raise InterruptedRunError

    def note(engine):
        losses[engine.state.iteration] = engine.state.output["loss"].item()

    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    if interrupt is None:
        workflow.run()
    else:
        with pytest.raises(RuntimeError) as error:
            workflow.run()
        assert isinstance(error.value.__cause__, InterruptedRunError)
    workflow.finalize()
    return losses


def equal(first, second):
    """Whether two checkpoints hold the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second
