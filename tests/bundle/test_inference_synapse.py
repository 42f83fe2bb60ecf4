import json

import nibabel
import numpy as np
import pytest
import torch

from condseg_monai import ConDSeg, synapse_class_names
from condseg_monai.data.ct.volume import axial_slices, axial_spacing
from condseg_monai.data.ct.volume_list import read_volume
from condseg_monai.networks.class_names import set_class_names
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.volume_scoring import score_volumes
from tests.ct import AFFINE, at_same_places, oblique_affine, phantom, turned, write_dicom, write_h5, write_nifti

pytest.importorskip("pydicom")

IMAGE, LABEL = phantom()
AFFINES = {"ras.nii.gz": ("RAS", AFFINE), "ail.nii": ("AIL", AFFINE), "dicom": ("LPS", AFFINE)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network whose weights are random but not symmetric, with the names of its classes."""
    folder = tmp_path_factory.mktemp("synapse")
    torch.manual_seed(0)
    network = ConDSeg(encoder="resnet18", decoder_channels=16, out_channels=9)
    with torch.no_grad():
        network.output.logits.weight.mul_(20)
    set_class_names(network, synapse_class_names("samed"))
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


@pytest.fixture
def options(tmp_path, checkpoint):
    return {
        "dataset_dir": str(tmp_path / "in"),
        "output_dir": str(tmp_path / "out"),
        "ckpt_dir": str(checkpoint),
        "encoder": "resnet18",
        "decoder_channels": 16,
        "image_size": 32,
        "device": "cpu",
        "progress_bar": False,
    }


@pytest.fixture
def run(run_config, options):
    return lambda **change: run_config("inference_synapse", workflow_type="infer", **{**options, **change})


def failure(run, **change) -> str:
    with pytest.raises(RuntimeError) as raised:
        run(**change)
    return f"{raised.value} {raised.value.__cause__}"


def record(tmp_path) -> dict:
    return json.loads((tmp_path / "out" / "inference.json").read_text())


def test_all_properties_are_where_monai_looks_even_without_data_and_checkpoint(open_config, tmp_path):
    workflow = open_config(
        "inference_synapse",
        workflow_type="infer",
        encoder="resnet18",
        decoder_channels=4,
        dataset_dir=str(tmp_path / "no"),
        ckpt_dir=str(tmp_path / "no"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_same_anatomy_gets_the_same_labels_from_any_file(run, tmp_path):
    for name, (codes, affine) in AFFINES.items():
        array, turned_affine = turned(IMAGE, affine, codes)
        if name == "dicom":
            write_dicom(tmp_path / "in" / name, array, turned_affine)
        else:
            write_nifti(tmp_path / "in" / name, array[..., None] if name == "ail.nii" else array, turned_affine)
    run()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".lock") == [
        "ail.nii.gz",
        "dicom.nii.gz",
        "inference.json",
        "ras.nii.gz",
    ]
    expected = nibabel.load(tmp_path / "out" / "ras.nii.gz")
    reference = np.asarray(expected.dataobj)
    assert reference.shape == IMAGE.shape and np.sort(np.bincount(reference.ravel()))[-2] > 100
    for name in AFFINES:
        source = read_volume(tmp_path / "in" / name)
        written = nibabel.load(tmp_path / "out" / f"{name.removesuffix('.gz').removesuffix('.nii')}.nii.gz")
        assert written.get_data_dtype() == np.uint8 and written.shape == source.file_shape
        np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
        labels = np.asarray(written.dataobj).reshape(source.array.shape, order="F")
        np.testing.assert_array_equal(labels, at_same_places(labels, source.affine, reference, expected.affine))
    assert record(tmp_path)["class_names"] == list(synapse_class_names("samed"))  # the checkpoint's, not the option's


def test_turned_copies_of_a_scan_get_the_same_scores(run, tmp_path):
    affine = oblique_affine()
    for codes in ("RAS", "LPS", "LAI", "SPR", "ARS"):
        write_nifti(tmp_path / "in" / f"{codes}.nii.gz", *turned(IMAGE, affine, codes))
        write_nifti(tmp_path / "label" / f"{codes}.nii.gz", *turned(LABEL, affine, codes))
    run()
    names = record(tmp_path)["class_names"]
    score_volumes(tmp_path / "out", tmp_path / "label", names, names, tmp_path / "scores", num_pictures=0)
    table = ScoreTable.read(tmp_path / "scores" / "scores_volumes.csv")
    for name, values in table.scores.items():
        by_copy = values.reshape(5, 8)
        np.testing.assert_allclose(by_copy, np.broadcast_to(by_copy[0], by_copy.shape), atol=1e-6, err_msg=name)
    assert ((table.scores["dice"] > 0) & (table.scores["dice"] < 1)).any()


@pytest.mark.slow
def test_transunet_s_volumes_get_labels_that_are_scored_against_their_own(run, tmp_path):
    write_nifti(tmp_path / "nifti" / "case0001.nii.gz", IMAGE, AFFINE)
    slices = axial_slices(IMAGE, AFFINE), axial_slices(LABEL, AFFINE)
    write_h5(tmp_path / "in" / "case0001.npy.h5", *slices, spacing_mm=axial_spacing(AFFINE))
    run(dataset_dir=str(tmp_path / "nifti"), output_dir=str(tmp_path / "expected"))
    run()
    expected, found = (nibabel.load(tmp_path / name / "case0001.nii.gz") for name in ("expected", "out"))
    np.testing.assert_array_equal(
        axial_slices(np.asarray(found.dataobj), found.affine), axial_slices(np.asarray(expected.dataobj), AFFINE)
    )
    names, scores = record(tmp_path)["class_names"], []
    for pred in ("expected", "out"):
        labels = tmp_path / "in" if pred == "out" else write_nifti(tmp_path / "case0001.nii.gz", LABEL, AFFINE)
        source = tmp_path / pred if labels.is_dir() else tmp_path / pred / "case0001.nii.gz"
        images = tmp_path / "in" if labels.is_dir() else None
        summary = score_volumes(source, labels, names, names, tmp_path / "scores" / pred, images=images)
        scores.append(list(summary["mean"].values()))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


@pytest.mark.slow
def test_precision_and_layout_change_next_to_nothing(run, tmp_path, monkeypatch):
    write_nifti(tmp_path / "in" / "a.nii.gz", IMAGE, AFFINE)
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiled.append(network) or network)
    labels = {}
    for name, change in {
        "plain": {},
        "channels_last": {"channels_last": "yes"},
        "compile": {"compile": "true"},
        "bfloat16": {"precision": "bfloat16"},
    }.items():
        run(**change, overwrite=True)
        labels[name] = np.asarray(nibabel.load(tmp_path / "out" / "a.nii.gz").dataobj)
        assert record(tmp_path)["settings"]["precision"] == change.get("precision", "float32")
    assert len(compiled) == 1
    for name, least in (("channels_last", 0.999), ("compile", 1), ("bfloat16", 0.9)):
        assert (labels[name] == labels["plain"]).mean() >= least, name
    assert (labels["bfloat16"] != labels["plain"]).any()


def test_everything_that_can_be_asked_for(run, tmp_path):
    write_dicom(tmp_path / "in", *turned(IMAGE, oblique_affine(), "LPS"))
    pytest.importorskip("highdicom")
    run(save_probability="nii", save_uncertainty="nii.gz", save_dicom_seg=True, keep_largest="true", batch_size=2)
    out = tmp_path / "out"
    labels = np.asarray(nibabel.load(out / "in.nii.gz").dataobj)
    probability = nibabel.load(out / "probability" / "in.nii").get_fdata()
    assert probability.shape == (*labels.shape, 9) and abs(probability.sum(-1) - 1).max() < 1e-3
    kept = labels > 0
    assert (probability.argmax(-1)[kept] == labels[kept]).mean() > 0.99  # rounding decides where two are alike
    uncertainty = nibabel.load(out / "uncertainty" / "in.nii.gz").get_fdata()
    assert uncertainty.shape == labels.shape and 0 <= uncertainty.min() < uncertainty.max() <= 1
    assert (out / "dicom_seg" / "in.dcm").is_file()


def test_bad_volumes_do_not_cost_the_others(run, tmp_path):
    folder = tmp_path / "in"
    write_nifti(folder / "good.nii.gz", IMAGE, AFFINE)
    write_nifti(folder / "flat.nii.gz", IMAGE[:, :, 0], AFFINE)
    write_nifti(folder / "mr.nii.gz", (IMAGE + 1000).astype(np.int16), AFFINE)
    broken = IMAGE.astype(np.float32)
    broken[3, 4, 5] = np.nan
    write_nifti(folder / "nan.nii.gz", broken, AFFINE)
    write_dicom(folder / "gap", *turned(IMAGE, AFFINE, "LPS"))[3].unlink()
    write_dicom(folder / "pet", *turned(IMAGE, AFFINE, "LPS"), Modality="PT")
    for number in range(2):
        write_dicom(folder / "mixed", *turned(IMAGE, AFFINE, "LPS"), prefix=str(number))
    write_dicom(folder / "slopes", *turned(IMAGE, AFFINE, "LPS"), RescaleSlope=["1", "2"])
    header = nibabel.Nifti1Header()
    header["vox_offset"] = np.inf
    (folder / "offset.nii").write_bytes(header.binaryblock + bytes(4))
    text = failure(run)
    assert "8 of 9 cases have no label" in text
    for name, words in {
        "flat": "2D image",
        "mr": "not Hounsfield units",
        "nan": "NaN",
        "gap": "misses slices",
        "pet": "of modality PT",
        "mixed": "holds 2 series",
        "slopes": "not 1 finite numbers",
        "offset": "offset.nii is not a NIfTI volume",
    }.items():
        assert name in text and words in text
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["good.nii.gz"]
    assert len(record(tmp_path)["failed"]) == 8
    run(dataset_dir=str(folder / "mr.nii.gz"), check_values="false")
    assert (tmp_path / "out" / "mr.nii.gz").is_file()


def test_a_dicom_seg_that_cannot_be_written_costs_no_label(run, tmp_path, monkeypatch):
    pytest.importorskip("highdicom")
    write_dicom(tmp_path / "in" / "good", *turned(IMAGE, AFFINE, "LPS"))
    write_dicom(tmp_path / "in" / "odd", *turned(IMAGE, AFFINE, "LPS"), FrameOfReferenceUID="no UID")

    def refuse(path, labels, volume, class_names):
        if volume.path.name == "odd":
            raise AttributeError("a birth date that highdicom does not take")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"seg")

    monkeypatch.setattr("condseg_monai.inference.volumes.write_dicom_seg", refuse)
    text = failure(run, save_dicom_seg=True)
    assert "1 of 2 cases have no label" in text and "birth date" in text
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["good.nii.gz", "odd.nii.gz"]


def test_existing_labels_are_kept_unless_overwritten(run, tmp_path):
    write_nifti(tmp_path / "in" / "a.nii.gz", IMAGE, AFFINE)
    run()
    label = tmp_path / "out" / "a.nii.gz"
    whole, written = label.read_bytes(), label.stat().st_mtime_ns
    run(overwrite="false")
    assert label.stat().st_mtime_ns == written and record(tmp_path)["kept"] == [str(tmp_path / "in" / "a.nii.gz")]
    file = tmp_path / "out" / "inference.json"
    old = {**record(tmp_path)["runs"][0], "checkpoint": "old.pt", "checkpoint_sha256": "0" * 64}
    file.write_text(json.dumps({**record(tmp_path), "runs": [old]}))
    said = failure(run, overwrite="false")
    assert "is of other weights" in said and "old.pt" in said and "--overwrite true" in said
    label.write_bytes(b"mine")
    assert "was changed since it was written" in failure(run, overwrite="false")
    run(overwrite="true")
    assert label.read_bytes() == whole


def test_what_cannot_work_stops_before_anything_is_written(run, tmp_path):
    (tmp_path / "empty").mkdir()
    write_nifti(tmp_path / "in" / "a.nii.gz", IMAGE, AFFINE)
    for change, words in (
        ({"dataset_dir": str(tmp_path / "empty")}, "has no volume"),
        ({"ckpt_dir": str(tmp_path)}, "train it with"),
        ({"decoder_channels": 8}, "must be those it was trained with"),
        ({"output_dir": str(tmp_path / "in")}, "holds the images or labels"),
        ({"save_dicom_seg": "true"}, "needs DICOM series"),
        ({"save_probability": "png"}, "save_probability must be one of"),
        ({"resizing": "cubic"}, "resizing must be one of"),
        ({"precision": "half"}, "precision must be one of"),
        ({"channels_last": "maybe"}, "channels_last must be true or false"),
    ):
        assert words in failure(run, **change)
    assert not (tmp_path / "out").exists() and len(list((tmp_path / "in").iterdir())) == 1
