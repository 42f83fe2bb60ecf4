import pytest
import torch
from monai.data import MetaTensor

from condseg_monai.data.images.color_augmentation import StrongColorAugmentation
from condseg_monai.data.images.normalization import NormalizeImage, normalize_image
from condseg_monai.training.prepare_batch import ConsistencyReinforcementPrepareBatch


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {"image": torch.rand(2, 3, 16, 20, generator=generator), "label": torch.ones(2, 1, 16, 20)}


@pytest.mark.parametrize("normalization", ["imagenet", "released"])
def test_clean_views_come_first_and_both_are_normalised(batch, normalization):
    prepare = ConsistencyReinforcementPrepareBatch(lambda images: images / 2, NormalizeImage(normalization))
    views, label = prepare(batch)
    assert torch.equal(views[:2], normalize_image(batch["image"], normalization))
    assert torch.equal(views[2:], normalize_image(batch["image"] / 2, normalization))
    assert torch.equal(label, batch["label"])


def test_views_differ_per_image_and_repeat_with_the_seed(batch):
    batch["image"][1] = batch["image"][0]
    prepare = ConsistencyReinforcementPrepareBatch(StrongColorAugmentation(), NormalizeImage())
    torch.manual_seed(3)
    first, _ = prepare(batch)
    torch.manual_seed(3)
    second, _ = prepare(batch)
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[1])
    assert not torch.allclose(first[2], first[3])
    assert not torch.allclose(first[0], first[2])


def test_batch_is_left_as_it_was_and_no_metadata_goes_on(batch):
    before = batch["image"].clone()
    batch["image"] = MetaTensor(batch["image"])
    views, label = ConsistencyReinforcementPrepareBatch(lambda images: images.mul(0.5), NormalizeImage())(batch)
    assert torch.equal(batch["image"].as_tensor(), before)
    assert type(views) is torch.Tensor
    assert type(label) is torch.Tensor
    assert not views.requires_grad


def test_further_arguments_reach_the_tensors(batch):
    prepare = ConsistencyReinforcementPrepareBatch(lambda images: images, lambda images: images)
    views, label = prepare(batch, device="cpu", non_blocking=True, dtype=torch.float64)
    assert views.dtype == label.dtype == torch.float64


def test_missing_label_raises(batch):
    prepare = ConsistencyReinforcementPrepareBatch(lambda images: images, lambda images: images)
    with pytest.raises(ValueError, match="no 'label'"):
        prepare({"image": batch["image"]})


def test_augmentation_that_changes_the_shape_raises(batch):
    prepare = ConsistencyReinforcementPrepareBatch(lambda images: images[..., :8], lambda images: images)
    with pytest.raises(ValueError, match=r"must keep \(2, 3, 16, 20\), got \(2, 3, 16, 8\)"):
        prepare(batch)
