"""Batches of views, the epoch of the sampler and the ramp of the loss."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from torch import nn
from torch.utils.data import DataLoader

from condseg_monai import (
    MaskLoss,
    SemiSupervisedLoss,
    SemiSupervisedNetwork,
    SemiSupervisedPrepareBatch,
    SemiSupervisedTrainer,
    TwoStreamBatchSampler,
)
from condseg_monai.training.semi_supervised import consistency_rampup


def batch():
    image = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2) / 10
    label = torch.full((4, 1, 2, 2), torch.nan)
    label[1], label[3] = 1.0, 0.0
    return {"image": image, "label": label, "labeled": torch.tensor([False, True, False, True])}


def test_views_are_sorted_whatever_the_order_of_the_batch():
    prepare = SemiSupervisedPrepareBatch(lambda x: x + 0.5, lambda x: 10 * x)
    views, label, arguments, options = prepare(batch(), "cpu")
    assert views[:, 0, 0, 0].tolist() == pytest.approx([1, 3, 0, 2, 5, 7])
    assert label[:, 0, 0, 0].tolist() == [1, 0]
    assert arguments == () and options["labeled"] == 2
    assert options["images"][:, 0, 0, 0].tolist() == pytest.approx(
        [0, 0.2, 0.5, 0.7]
    )  # what generators draw: in [0, 1]


def test_labelled_images_alone_are_not_perturbed():
    def never(x):
        raise AssertionError("perturbed nothing")

    known = {key: value[[1, 3]] for key, value in batch().items()}
    views, label, _, options = SemiSupervisedPrepareBatch(never, lambda x: x)(known)
    assert (len(views), len(label), options["labeled"]) == (2, 2, 2)


def test_bad_batches_and_perturbations_raise():
    unknown = {key: value[[0, 2]] for key, value in batch().items()}
    with pytest.raises(ValueError, match="no labelled image"):
        SemiSupervisedPrepareBatch(lambda x: x, lambda x: x)(unknown)
    with pytest.raises(ValueError, match="must keep"):
        SemiSupervisedPrepareBatch(lambda x: x[:, :1], lambda x: x)(batch())


def test_trainer_sets_epoch_and_ramp():
    class Cases:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            label = torch.full((1, 32, 32), float(index % 2) if index < 2 else torch.nan)
            return {"image": torch.rand(3, 32, 32), "label": label, "labeled": index < 2}

    torch.manual_seed(0)
    network = SemiSupervisedNetwork(nn.Conv2d(3, 1, 1))
    loss = SemiSupervisedLoss(MaskLoss())
    sampler = TwoStreamBatchSampler(2, 4, 1, 2)
    ramps, epochs = [], []
    trainer = SemiSupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=3,
        train_data_loader=DataLoader(Cases(), batch_sampler=sampler),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=loss,
        prepare_batch=SemiSupervisedPrepareBatch(lambda x: 1 - x, lambda x: x),
        decollate=False,
        rampup_epochs=2,
    )
    before = [parameter.clone() for parameter in network.student.parameters()]

    @trainer.on(Events.ITERATION_COMPLETED)
    def note(engine):
        ramps.append(loss.terms["rampup"].item())
        epochs.append(sampler.epoch)

    trainer.run()
    assert ramps == pytest.approx([consistency_rampup(step, 4) for step in range(6)])
    assert ramps[4:] == [1.0, 1.0]
    assert epochs == [1, 1, 2, 2, 3, 3]
    assert all(not torch.equal(old, new) for old, new in zip(before, network.student.parameters(), strict=True))


def test_negative_ramps_raise():
    with pytest.raises(ValueError, match="rampup_epochs"):
        SemiSupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=[],
            network=nn.Identity(),
            optimizer=None,
            loss_function=None,
            rampup_epochs=-1,
        )
