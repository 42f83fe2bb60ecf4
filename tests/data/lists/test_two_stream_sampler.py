"""Every batch has its labelled and its unlabelled share, and every case its turn."""

from __future__ import annotations

from collections import Counter

import ignite.distributed as idist
import pytest
from torch.utils.data import DataLoader

from condseg_monai.data.lists.two_stream_sampler import TwoStreamBatchSampler


def epochs(sampler, count):
    batches = []
    for epoch in range(1, count + 1):
        sampler.set_epoch(epoch)
        batches.append(list(sampler))
    return batches


def test_batches_have_both_shares_and_labelled_cases_first():
    sampler = TwoStreamBatchSampler(5, 11, labeled_batch_size=2, unlabeled_batch_size=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 3
    for batch in batches:
        assert [index < 5 for index in batch] == [True, True, False, False, False]
        assert len(set(batch[2:])) == 3


def test_an_epoch_has_every_labelled_case():
    for batches in epochs(TwoStreamBatchSampler(5, 11, 2, 3), 4):
        counts = Counter(index for batch in batches for index in batch[:2])
        assert counts.keys() == set(range(5))
        assert sorted(counts.values()) == [1, 1, 1, 1, 2]  # the last batch is filled up


def test_unlabelled_cases_come_equally_often_over_the_epochs():
    batches = [batch for epoch in epochs(TwoStreamBatchSampler(4, 7, 2, 3), 7) for batch in epoch]
    # Epoch 1 starts at the sixth place of the row: 42 places from there on, six passes over seven cases, cut twice.
    counts = Counter(index for batch in batches for index in batch[2:])
    assert counts.keys() == set(range(4, 11))
    assert max(counts.values()) - min(counts.values()) <= 2
    assert sum(counts.values()) == 42


def test_batches_depend_on_seed_and_epoch_alone():
    first, again = (epochs(TwoStreamBatchSampler(6, 9, 2, 2, seed=4), 3) for _ in range(2))
    other = epochs(TwoStreamBatchSampler(6, 9, 2, 2, seed=5), 3)
    assert first == again != other
    assert first[0] != first[1]
    jumped = TwoStreamBatchSampler(6, 9, 2, 2, seed=4)
    jumped.set_epoch(3)
    assert list(jumped) == first[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_get_the_same_batches(workers):
    sampler = TwoStreamBatchSampler(3, 5, 1, 2)
    loader = DataLoader(list(range(8)), batch_sampler=sampler, num_workers=workers)
    sampler.set_epoch(2)
    assert [batch.tolist() for batch in loader] == list(sampler)


def test_processes_share_each_step(monkeypatch):
    shares = []
    for rank in range(2):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(idist, "get_world_size", lambda: 2)
        sampler = TwoStreamBatchSampler(8, 12, 2, 3)
        shares.append(epochs(sampler, 2))
        assert len(sampler) == 2
    for first, second in zip(*shares, strict=True):
        labeled = [index for batches in (first, second) for batch in batches for index in batch[:2]]
        assert sorted(labeled) == list(range(8))
        unlabeled = [index for batches in (first, second) for batch in batches for index in batch[2:]]
        assert sorted(unlabeled) == list(range(8, 20))


def test_no_unlabelled_cases_are_needed_for_a_supervised_run():
    assert all(len(batch) == 2 and max(batch) < 4 for batch in TwoStreamBatchSampler(4, 0, 2, 0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0, 4, 1, 1), "no labelled"), ((4, 0, 1, 1), "set it to 0"), ((4, 4, 0, 1), "positive"), ((4, 4, 1, -1), "posi")],
)
def test_arguments_out_of_range_raise(arguments, words):
    with pytest.raises(ValueError, match=words):
        TwoStreamBatchSampler(*arguments)
