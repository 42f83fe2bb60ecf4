import nibabel
import numpy as np
import pytest

from condseg_monai.data.ct.synapse import synapse_class_names
from condseg_monai.data.prepare.synapse import prepare_synapse
from condseg_monai.data.synthetic.ct_phantom import make_ct_phantom, make_synthetic_ct


def test_every_organ_is_there_with_its_own_density():
    image, label = make_ct_phantom(seed=3)
    assert image.shape == label.shape == (24, 64, 80) and image.dtype == np.int16
    means = {name: image[label == k].mean() for k, name in enumerate(synapse_class_names())}
    assert means["left kidney"] > means["spleen"] > means["liver"] > means["stomach"] > means["gallbladder"]
    assert all(np.count_nonzero(label == k) >= 40 for k in range(9))
    assert image.min() >= -1024 and (image < -900).any()


def test_left_is_left_and_the_lungs_are_above():
    image, label = make_ct_phantom(seed=0)
    z, y, x = (np.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) for axis, n in enumerate(label.shape))
    place = {
        name: [(axis * (label == k)).sum() / (label == k).sum() for axis in (z, y, x)]
        for k, name in enumerate(synapse_class_names())
    }
    assert place["liver"][2] < place["aorta"][2] < place["spleen"][2]
    assert place["right kidney"][2] < place["left kidney"][2]
    assert place["gallbladder"][1] < place["left kidney"][1]
    assert np.abs(image[-1, 24:40, 20:60] + 800).min() < 50


def test_a_seed_is_a_patient():
    assert all(np.array_equal(*pair) for pair in zip(make_ct_phantom(1), make_ct_phantom(1), strict=True))
    assert not np.array_equal(make_ct_phantom(1)[1], make_ct_phantom(2)[1])


def test_files_come_back_as_the_slices_they_were_drawn_as(tmp_path):
    shape = (8, 16, 20)
    make_synthetic_ct(tmp_path / "scans", num_cases=2, shape=shape, seed=5)
    volume = nibabel.load(tmp_path / "scans" / "img" / "scan01.nii.gz")
    assert nibabel.aff2axcodes(volume.affine) == ("L", "P", "S") and volume.header.get_zooms() == (4.5, 4.5, 8.0)
    prepare_synapse(tmp_path / "scans", tmp_path / "data", source_labels="transunet")
    with np.load(tmp_path / "data" / "train_npz" / "scan00_slice003.npz") as content:
        np.testing.assert_array_equal(content["label"], make_ct_phantom(5, shape)[1][3])
    with pytest.raises(FileExistsError, match="is not empty"):
        make_synthetic_ct(tmp_path / "scans")


def test_too_small_raises():
    with pytest.raises(ValueError, match="each at least 8"):
        make_ct_phantom(shape=(4, 64, 64))
