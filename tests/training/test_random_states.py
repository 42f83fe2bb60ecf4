import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, RandFlipd, RandRotated, RandZoomd

from condseg_monai.training.random_states import random_state, restore_random_state

CPU = torch.device("cpu")


def make_dataset():
    """Thirty-two images; RandRotated holds a second generator inside, the cache nothing random."""
    transforms = Compose([RandFlipd("image", 0.5, 0), RandRotated("image", range_x=0.5, prob=0.7)])
    data = [{"image": torch.rand(1, 8, 8)} for _ in range(32)]
    return CacheDataset(data, transforms, progress=False)


def draw(dataset):
    images = torch.stack([torch.as_tensor(dataset[i]["image"]) for i in range(len(dataset))])
    rng = np.random.mtrand._rand
    return [random.random(), rng.rand(), torch.rand(3).tolist(), images.tolist()]


def test_every_generator_is_put_back():
    dataset = make_dataset()
    draw(dataset)
    np.random.mtrand._rand.randn()  # leaves a cached second draw behind
    state = random_state(dataset, CPU)
    first, later = draw(dataset), draw(dataset)
    restore_random_state(state, dataset, CPU)
    again = draw(dataset)
    assert again == first
    assert all(a != b for a, b in zip(first, later, strict=True))


def test_state_is_loaded_without_pickled_code_and_in_another_data_set(tmp_path):
    dataset = make_dataset()
    torch.save(random_state(dataset, CPU), tmp_path / "state.pt")
    expected = draw(dataset)
    other = Dataset(dataset.data, make_dataset().transform)
    draw(other)
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True), other, CPU)
    assert draw(other) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_next_epoch_is_the_same_in_order_and_augmentation(num_workers):
    loader = DataLoader(make_dataset(), batch_size=4, shuffle=True, num_workers=num_workers)

    def epoch():
        return torch.cat([batch["image"] for batch in loader])

    epoch()
    state = random_state(loader.dataset, CPU)
    epochs = [epoch(), epoch()]
    restore_random_state(state, loader.dataset, CPU)
    epochs += [epoch(), epoch()]
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])
    assert not any(torch.equal(a, b) for a, b in pairwise(epochs))


def test_other_transforms_raise_and_change_nothing():
    state = random_state(make_dataset(), CPU)
    dataset = Dataset([], Compose([RandZoomd("image")]))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="resume with the transforms that the run began with"):
        restore_random_state(state, dataset, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_data_set_has_no_transforms():
    assert random_state(None, CPU)["transforms"] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_generator_of_the_gpu_is_put_back():
    device = torch.device("cuda")
    state = random_state(None, device)
    first = torch.rand(4, device=device)
    restore_random_state(state, None, device)
    assert torch.equal(torch.rand(4, device=device), first)
