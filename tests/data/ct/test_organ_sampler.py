import doctest

import pytest
import torch

from condseg_monai.data.ct import organ_sampler as module
from condseg_monai.data.ct.organ_sampler import OrganSampler

DATA = [{"has_organ": index % 10 == 0} for index in range(200)]  # 20 with an organ


def test_examples():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("share", "empty"), [(0.0, 0), (0.1, 2), (0.5, 20), (0.9, 180), (0.99, 180), (1, 180)])
def test_an_epoch_has_every_organ_and_a_share_of_empty_slices(share, empty):
    drawn = list(OrganSampler(DATA, share))
    assert len(drawn) == len(set(drawn)) == len(OrganSampler(DATA, share)) == 20 + empty
    assert sum(DATA[index]["has_organ"] for index in drawn) == 20


def test_epochs_differ_and_a_seed_repeats_them():
    sampler = OrganSampler(DATA, 0.2)
    torch.manual_seed(0)
    first, second = list(sampler), list(sampler)
    torch.manual_seed(0)
    assert first == list(sampler) != second
    assert set(first) != set(second)  # other empty slices


def test_data_without_any_organ_is_taken_whole():
    assert len(OrganSampler([{"has_organ": False}] * 5, 0.1)) == 5


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_no_share_raises(share):
    with pytest.raises(ValueError, match=r"empty_share must be in \[0, 1\]"):
        OrganSampler(DATA, share)
