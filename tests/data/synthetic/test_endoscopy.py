from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.data.lists.datalist import check_datalist
from condseg_monai.data.synthetic.endoscopy import make_synthetic_dataset


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def load(root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, H, W, 3)`` in [0, 1] and masks ``(N, H, W)``."""
    cases = check_datalist(root, (split,), mask_threshold=127)[split]
    images = np.stack([read_natural_image(case["image"]) for case in cases]) / 255
    return images, np.stack([read_natural_image(case["label"], "L") for case in cases]) > 127


def mean_dice(preds: np.ndarray, masks: np.ndarray) -> float:
    return float(np.mean([2 * (p & m).sum() / max(1, p.sum() + m.sum()) for p, m in zip(preds, masks, strict=True)]))


def test_layout_is_what_the_datalist_reads(tmp_path):
    root = make_synthetic_dataset(tmp_path / "a" / "b", 3, 2, 1, image_size=32)
    cases = check_datalist(root, ("train", "val", "test"), mask_threshold=127)
    assert {split: len(found) for split, found in cases.items()} == {"train": 3, "val": 2, "test": 1}


def test_images_are_rgb_and_masks_0_and_255_of_the_asked_size(tmp_path):
    root = make_synthetic_dataset(tmp_path / "a", 4, 1, 0, image_size=(40, 64))
    for case in check_datalist(root)["train"]:
        assert read_natural_image(case["image"]).shape == (40, 64, 3)
        mask = read_natural_image(case["label"], "L")
        assert mask.shape == (40, 64) and set(np.unique(mask)) == {0, 255}
        assert 0.01 < (mask > 0).mean() < 0.5
    assert not (root / "test.txt").exists()


def test_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    first = files(make_synthetic_dataset(tmp_path / "a", 2, 1, 1, image_size=32, seed=7))
    assert files(make_synthetic_dataset(tmp_path / "b", 2, 1, 1, image_size=32, seed=7)) == first
    other = files(make_synthetic_dataset(tmp_path / "c", 2, 1, 1, image_size=32, seed=8))
    assert all(other[name] != content for name, content in first.items() if name.endswith(".png"))


def test_more_cases_leave_the_others_as_they_were(tmp_path):
    few = files(make_synthetic_dataset(tmp_path / "a", 2, 1, 1, image_size=32))
    more = files(make_synthetic_dataset(tmp_path / "b", 5, 3, 2, image_size=32))
    assert all(more[name] == content for name, content in few.items() if name.endswith(".png"))


def test_no_two_images_are_alike(tmp_path):
    contents = files(make_synthetic_dataset(tmp_path / "a", 6, 4, 2, image_size=32))
    images = [content for name, content in contents.items() if name.startswith("images")]
    assert len(set(images)) == 12


def test_no_threshold_on_a_colour_finds_the_lesions(tmp_path):
    images, masks = load(make_synthetic_dataset(tmp_path / "a", 1, 16, 0, image_size=64), "val")
    lab = np.stack([rgb2lab(image) for image in images])
    share = images / (images.sum(axis=-1, keepdims=True) + 0.05)
    for value in [*np.moveaxis(images, -1, 0), *np.moveaxis(lab, -1, 0), *np.moveaxis(share, -1, 0)]:
        for threshold in np.quantile(value, np.linspace(0.02, 0.98, 25)):
            assert max(mean_dice(value > threshold, masks), mean_dice(value < threshold, masks)) < 0.6


@pytest.mark.slow
def test_small_network_finds_the_lesions(tmp_path):
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    root = make_synthetic_dataset(tmp_path / "a", 64, 16, 0, image_size=64)
    (images, masks), (val_images, val_masks) = load(root, "train"), load(root, "val")
    x, val_x = (torch.from_numpy(values).float().permute(0, 3, 1, 2) - 0.4 for values in (images, val_images))
    y = torch.from_numpy(masks).float()[:, None]
    torch.manual_seed(0)
    net = UNet(2, 3, 1, (16, 32, 64, 128), (2, 2, 2), num_res_units=1)
    optimizer, loss = torch.optim.Adam(net.parameters(), 2e-3), DiceCELoss(sigmoid=True)
    for step in range(320):
        batch = torch.randint(len(x), (8,))
        turn = step % 4
        optimizer.zero_grad()
        loss(net(torch.rot90(x[batch], turn, (2, 3))), torch.rot90(y[batch], turn, (2, 3))).backward()
        optimizer.step()
    with torch.no_grad():
        preds = (net.eval()(val_x) > 0)[:, 0].numpy()
    assert mean_dice(preds, val_masks) > 0.8


def test_existing_files_are_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(FileExistsError, match="is not empty"):
        make_synthetic_dataset(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_empty_folder_is_used(tmp_path):
    assert make_synthetic_dataset(tmp_path, 1, 1, 0, image_size=32) == tmp_path


@pytest.mark.parametrize("wrong", [{"image_size": 16}, {"image_size": (64, 31)}, {"num_train": 0}, {"num_test": -1}])
def test_wrong_numbers_raise_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_synthetic_dataset(tmp_path / "a", **wrong)
    assert not (tmp_path / "a").exists()
