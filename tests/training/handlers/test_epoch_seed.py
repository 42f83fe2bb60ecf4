"""Seed every epoch from (seed, epoch, rank)."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, RandRotated
from torch import nn

from condseg_monai.training.handlers import epoch_seed
from condseg_monai.training.handlers.epoch_seed import EpochSeed


def epochs_of(seed, num_workers, first=1, epochs=4):
    """What each epoch draws: images in order, and one number of every generator."""
    transforms = Compose([RandFlipd("image", 0.5, 0), RandRotated("image", range_x=0.5, prob=0.7)])
    data = [{"image": torch.arange(64.0).view(1, 8, 8) + 100 * i} for i in range(8)]
    loader = DataLoader(
        CacheDataset(data, transforms, progress=False), batch_size=4, shuffle=True, num_workers=num_workers
    )
    drawn = {}

    def update(engine, batch):
        numbers = torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])  # noqa: NPY002
        drawn.setdefault(engine.state.epoch, []).append((batch["image"].as_tensor(), numbers))

    trainer = SupervisedTrainer(
        "cpu", epochs, loader, nn.Identity(), None, None, iteration_update=update, train_handlers=[EpochSeed(seed)]
    )

    @trainer.on(Events.STARTED)
    def resume(engine):
        engine.state.epoch, engine.state.iteration = first - 1, 2 * (first - 1)

    trainer.run()
    return {epoch: [torch.cat(values) for values in zip(*batches, strict=True)] for epoch, batches in drawn.items()}


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_epoch_draws_the_same_in_a_resumed_run_and_other_than_its_neighbours(num_workers):
    whole = epochs_of(3, num_workers)
    torch.rand(5)
    resumed = epochs_of(3, num_workers, first=3)
    assert resumed.keys() == {3, 4}
    assert all(same(whole[epoch], resumed[epoch]) for epoch in resumed)
    for index in range(2):
        assert not any(torch.equal(a[index], b[index]) for a, b in pairwise(whole.values()))


def test_other_seeds_and_processes_draw_otherwise(monkeypatch):
    first = epochs_of(0, 0, epochs=1)[1]
    assert not same(first, epochs_of(1, 0, epochs=1)[1])
    monkeypatch.setattr(epoch_seed.idist, "get_rank", lambda: 1)
    assert not same(first, epochs_of(0, 0, epochs=1)[1])


def test_negative_seed_raises():
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        EpochSeed(-1)
