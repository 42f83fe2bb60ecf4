"""The parts of the protocol around the training, which other tests cover."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from condseg_monai.cli.workflows import option_names
from condseg_monai.data.synthetic.ct_phantom import make_synthetic_ct
from experiments import ct_protocol


@pytest.fixture
def root(tmp_path: Path) -> Path:
    scans = make_synthetic_ct(tmp_path / "scans", num_cases=1, shape=(8, 24, 32))
    ct_protocol.prepare(scans / "img" / "scan00.nii.gz", scans / "label" / "scan00.nii.gz", "transunet", tmp_path)
    return tmp_path


def test_every_second_slice_is_for_training(root: Path):
    train, val = ((root / "slices" / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert [name[-3:] for name in train] == ["000", "002", "004", "006"]
    assert [name[-3:] for name in val] == ["001", "003", "005", "007"]


def test_copies_lie_as_they_say_and_are_scored_where_they_lie(root: Path):
    label = root / "scan" / "label.nii.gz"
    ct_protocol.write_copies(label, root / "eval")  # a network that makes no mistake
    for codes in ct_protocol.COPIES:
        assert "".join(nibabel.aff2axcodes(nibabel.load(root / "eval" / f"{codes}.nii.gz").affine)) == codes
    scores = ct_protocol.score(root)
    assert set(scores) == set(ct_protocol.COPIES)
    assert all(value == 1 for dice in scores.values() for value in dice.values())


def test_only_slices_that_were_not_trained_on_count(root: Path):
    image = nibabel.load(root / "scan" / "label.nii.gz")
    wrong = np.asarray(image.dataobj).copy()
    wrong[..., 0::2] = 0  # the axes of the phantom lead to the left, the back and the head
    nibabel.save(nibabel.Nifti1Image(wrong, image.affine), root / "wrong.nii.gz")
    ct_protocol.write_copies(root / "wrong.nii.gz", root / "eval")
    assert all(dice["mean"] == 1 for dice in ct_protocol.score(root).values())
    wrong[..., 1] = 0
    nibabel.save(nibabel.Nifti1Image(wrong, image.affine), root / "wrong.nii.gz")
    ct_protocol.write_copies(root / "wrong.nii.gz", root / "eval")
    assert all(dice["mean"] < 1 for dice in ct_protocol.score(root).values())


def test_every_option_is_one_of_the_configs():
    known = option_names(["train_stage1", "synapse", "train_stage2"])
    for options in (ct_protocol.NETWORK, ct_protocol.TRAINING, ct_protocol.STAGE1, ct_protocol.STAGE2):
        assert options.keys() <= known
