"""Scoring of label volumes, and its command."""

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from condseg_monai.cli.commands import main
from condseg_monai.data.ct.synapse import BTCV_ORGANS
from condseg_monai.data.ct.volume import axial_slices
from condseg_monai.metrics.volume_scores import organ_scores
from condseg_monai.networks.class_names import set_class_names
from condseg_monai.reports.drawing import draw_planes
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.volume_scoring import pair_volumes, score_volumes
from condseg_monai.utils.palette import class_colors
from tests.ct import AFFINE, ORIENTATIONS, phantom, turned, write_nifti

IMAGE, LABEL = phantom()
NAMES = ("background", "left kidney", "right kidney", "liver", "aorta")


@pytest.fixture
def folders(tmp_path):
    """Two predictions that are a voxel off in one organ, with the record of their inference, and their labels."""
    pred = LABEL.copy()
    pred[:, :, 0][pred[:, :, 0] == 2] = 0
    for name in ("img0001", "img0002"):
        write_nifti(tmp_path / "pred" / f"{name}.nii.gz", pred, AFFINE)
        write_nifti(tmp_path / "image" / f"{name}.nii.gz", IMAGE, AFFINE)
    for name in ("label0001", "label0002"):
        write_nifti(tmp_path / "label" / f"{name}.nii.gz", LABEL, AFFINE)
    record = {"class_names": NAMES, "checkpoint": "model.pt", "checkpoint_sha256": "00", "resizing": "scores"}
    (tmp_path / "pred" / "inference.json").write_text(json.dumps(record))
    return tmp_path


def command(folder, *more: str) -> int:
    names = ",".join(NAMES)
    arguments = [str(folder / "pred"), str(folder / "label"), "--output_dir", str(folder / "out")]
    return main(["score-volumes", *arguments, *(more or ("--class_names", names))])


def test_command_writes_table_summary_and_page(folders, capsys):
    assert command(folders, "--class_names", ",".join(NAMES), "--images", str(folders / "image")) == 0
    out = folders / "out"
    table = ScoreTable.read(out / "scores_volumes.csv")
    assert table.files[:4] == [f"img0001/{organ}" for organ in NAMES[1:]] and len(table) == 8
    kidney = LABEL == 2
    lost = kidney[:, :, 0].sum()
    expected = 2 * (kidney.sum() - lost) / (2 * kidney.sum() - lost)
    np.testing.assert_allclose(table.scores["dice"][:4], [1, expected, 1, 1], atol=1e-6)
    np.testing.assert_allclose(table.scores["transunet_dice"], table.scores["dice"])
    summary = json.loads((out / "summary_volumes.json").read_text())
    assert summary["mean"]["dice"] == pytest.approx((3 + expected) / 4)
    assert summary["checkpoint_sha256"] == "00" and summary["failed"] == {}
    assert summary["millilitres"]["img0001"]["liver"]["label"] == pytest.approx((LABEL == 3).sum() * 0.015)
    page = (out / "report_volumes.html").read_text()
    assert page.count("data:image/jpeg") == 6 and "right kidney" in page
    assert f">{(LABEL == 3).sum() * 0.015:.1f}</td>" in page and "class names</dt><dd>background, left kidney" in page
    assert not re.findall(r"(?:src|href)=.(?!data:)", page)
    assert "right kidney" in capsys.readouterr().out
    assert command(folders) == 1
    assert "is of an earlier report" in capsys.readouterr().err
    assert command(folders, "--class_names", ",".join(NAMES), "--overwrite") == 0


@pytest.mark.slow
def test_turned_copies_score_the_same(folders):
    """Whichever of the two is turned, and however: organs are compared where they lie."""
    results = []
    for codes in ORIENTATIONS[::5]:
        for what, array in (("pred", LABEL), ("label", LABEL)):
            folder = folders / codes / what
            write_nifti(folder / "pred" / "a.nii.gz", LABEL, AFFINE)
            write_nifti(folder / "label" / "a.nii.gz", np.roll(LABEL, 1, axis=0), AFFINE)
            array = LABEL if what == "pred" else np.roll(LABEL, 1, axis=0)
            write_nifti(folder / what / "a.nii.gz", *turned(array, AFFINE, codes))
            summary = score_volumes(folder / "pred", folder / "label", NAMES, NAMES, folder / what, num_pictures=0)
            results.append(list(summary["mean"].values()))
    np.testing.assert_allclose(results, results[:1] * len(results), atol=1e-9)
    assert 0.5 < results[0][0] < 0.95


def test_distances_and_volumes_of_a_tilted_gantry_are_those_in_the_patient(folders):
    affine = AFFINE.copy()
    affine[1, 2] = 2.5
    preds, labels = np.zeros_like(LABEL), np.zeros_like(LABEL)
    preds[10, 5, 4], labels[10, 8, 7] = 1, 1
    labels[10, 5, 4] = 2
    for name, array in (("pred", preds), ("label", labels)):
        write_nifti(folders / "tilted" / name / "a.nii", *turned(array, affine, "LIP"))
    summary = score_volumes(
        folders / "tilted" / "pred", folders / "tilted" / "label", NAMES, NAMES, folders / "out", num_pictures=1
    )
    apart = np.linalg.norm(affine[:3, :3] @ (0, 3, 3))
    assert summary["organs"]["left kidney"]["hd95_mm"]["mean"] == pytest.approx(apart)
    diagonal = np.linalg.norm(affine[:3, :3] @ LABEL.shape)
    assert summary["organs"]["right kidney"]["hd95_mm"]["mean"] == pytest.approx(diagonal)
    assert summary["millilitres"]["a"]["left kidney"]["label"] == pytest.approx(1.5 * 2 * 5 / 1000)


def test_organs_are_matched_by_name(folders):
    """Labels of BTCV, with thirteen organs in another order."""
    numbers = np.array([0, *(BTCV_ORGANS.index(name) + 1 for name in NAMES[1:])], np.uint8)
    label = numbers[LABEL]
    label[0, 0] = BTCV_ORGANS.index("pancreas") + 1  # none of the predicted
    for name in ("label0001", "label0002"):
        write_nifti(folders / "label" / f"{name}.nii.gz", label, AFFINE)
    assert command(folders, "--source_labels", "btcv") == 0
    scores = ScoreTable.read(folders / "out" / "scores_volumes.csv").scores["dice"]
    assert (scores[[0, 2, 3]] == 1).all()


def test_wrong_classes_are_refused(folders, capsys):
    assert command(folders, "--class_names", "background,left kidney,spleen") == 1
    assert "the labels have no right kidney, liver, aorta" in capsys.readouterr().err
    (folders / "pred" / "inference.json").unlink()
    assert command(folders) == 1
    assert "what the numbers in" in capsys.readouterr().err


def test_a_checkpoint_tells_the_classes_unless_it_is_another(folders, capsys):
    network, checkpoint = torch.nn.Conv2d(1, 5, 1), folders / "model.pt"
    torch.save(network.state_dict(), checkpoint)
    arguments = ("--class_names", ",".join(NAMES), "--checkpoint", str(checkpoint))
    assert command(folders, *arguments) == 1
    assert "does not say what its classes are called" in capsys.readouterr().err
    set_class_names(network, NAMES)
    torch.save(network.state_dict(), checkpoint)
    assert command(folders, *arguments) == 1
    assert "was predicted with model.pt" in capsys.readouterr().err
    (folders / "pred" / "inference.json").unlink()
    assert command(folders, *arguments) == 0
    summary = json.loads((folders / "out" / "summary_volumes.json").read_text())
    assert summary["class_names"] == list(NAMES) and summary["checkpoint"] == str(checkpoint)


def test_bad_volumes_do_not_cost_the_others(folders, capsys):
    write_nifti(folders / "pred" / "img0003.nii.gz", LABEL, AFFINE)
    write_nifti(folders / "label" / "label0004.nii.gz", LABEL, AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 30
    for number, (array, affine) in enumerate(
        ((LABEL, moved), (LABEL[1:], AFFINE), (LABEL + 5, AFFINE), (LABEL + 0.5, AFFINE)), 5
    ):
        write_nifti(folders / "pred" / f"img000{number}.nii.gz", LABEL, AFFINE)
        write_nifti(folders / "label" / f"label000{number}.nii.gz", array, affine)
    assert command(folders) == 1
    failed = json.loads((folders / "out" / "summary_volumes.json").read_text())["failed"]
    words = {"img0003": "no label", "label0004": "no prediction", "img0005": "of different scans"}
    words |= {"img0006": "voxels and its label", "img0007": "has labels from 5 to 9", "img0008": "no label volume"}
    assert len(failed) == len(words)
    for path, reason in failed.items():
        assert words[next(name for name in words if name in path)] in reason
    assert "img0005" in capsys.readouterr().err


def paired(root, preds, labels):
    for folder, names in (("pred", preds), ("label", labels)):
        for name in names:
            write_nifti(root / folder / (name if "." in name else f"{name}.nii.gz"), LABEL, AFFINE)
    pairs, failed = pair_volumes(root / "pred", root / "label")
    label_of = {name: files[1].relative_to(root / "label").as_posix() for name, files in pairs.items()}
    return label_of, {Path(path).relative_to(root).as_posix(): reason for path, reason in failed.items()}


@pytest.mark.parametrize(
    ("preds", "labels", "expected"),
    [
        (["img0001", "x"], ["label0001", "x_seg"], {"img0001": "label0001.nii.gz", "x": "x_seg.nii.gz"}),  # BTCV
        (["case0001"], ["label0001"], {"case0001": "label0001.nii.gz"}),  # TransUNet's name of it
        (["x_0000", "y_0000"], ["x", "y"], {"x_0000": "x.nii.gz", "y_0000": "y.nii.gz"}),  # nnU-Net
        (
            ["liver_0_0000", "liver_1_0000"],
            ["liver_1", "liver_0"],
            {f"liver_{i}_0000": f"liver_{i}.nii.gz" for i in (0, 1)},
        ),
        (["s1_ct", "s2_ct"], ["s1/label", "s2/label"], {"s1_ct": "s1/label.nii.gz", "s2_ct": "s2/label.nii.gz"}),
        (["s1_ct"], ["s1/ct", "s1/label"], {"s1_ct": "s1/label.nii.gz"}),  # images beside their labels
        (["ct"], ["label", "ct"], {"ct": "label.nii.gz"}),
        (["caf\u00e9"], ["cafe\u0301"], {"caf\u00e9": "cafe\u0301.nii.gz"}),  # as macOS stores it
    ],
)
def test_predictions_get_the_label_of_their_name(tmp_path, preds, labels, expected):
    assert paired(tmp_path, preds, labels) == (expected, {})


def test_a_label_of_another_case_is_never_taken(tmp_path):
    found, failed = paired(tmp_path, ["anna_20210304", "x"], ["bert_20210304", "x"])
    assert found == {"x": "x.nii.gz"}
    assert failed == {
        "pred/anna_20210304.nii.gz": f"no label of this name in {tmp_path / 'label'}",
        "label/bert_20210304.nii.gz": f"no prediction of this name in {tmp_path / 'pred'}",
    }


@pytest.mark.parametrize(
    ("preds", "labels"), [(["x", "x_0000"], ["x"]), (["x"], ["x.nii", "x.nii.gz"]), (["a_img"], ["a_seg", "a_mask"])]
)
def test_no_label_is_taken_twice_and_no_prediction_scored_on_two(tmp_path, preds, labels):
    found, failed = paired(tmp_path, preds, labels)
    assert found == {} and len(failed) == 3
    assert all("have one name; keep a pair of them" in reason for reason in failed.values())


def test_one_file_each_is_a_pair_whatever_they_are_called(folders):
    pred, label = folders / "pred" / "img0001.nii.gz", folders / "label" / "label0002.nii.gz"
    assert pair_volumes(pred, label) == ({"img0001": (pred, label)}, {})


def test_labels_that_a_slope_left_a_little_off_are_whole_numbers(folders):
    image = nibabel.Nifti1Image(LABEL, AFFINE)
    image.header.set_slope_inter(0.99999, 0)
    nibabel.save(image, folders / "label" / "label0001.nii.gz")
    for pred in (folders / "pred").glob("*.nii.gz"):
        write_nifti(pred, LABEL, AFFINE)
    assert command(folders) == 0
    assert (ScoreTable.read(folders / "out" / "scores_volumes.csv").scores["dice"] == 1).all()


def test_a_report_that_another_process_wrote_meanwhile_is_kept(folders, monkeypatch):
    def score_and_meet_another(*args):
        (folders / "out").mkdir(exist_ok=True)
        (folders / "out" / "summary_volumes.json").write_text("of another")
        return organ_scores(*args)

    monkeypatch.setattr("condseg_monai.reports.volume_scoring.organ_scores", score_and_meet_another)
    assert command(folders) == 1
    assert [(path.name, path.read_text()) for path in (folders / "out").iterdir()] == [
        ("summary_volumes.json", "of another")
    ]


@pytest.mark.parametrize(("content", "words"), [("{half", "is damaged or no JSON"), ("[1]", "holds no JSON object")])
def test_a_damaged_record_of_the_inference_is_named(folders, capsys, content, words):
    (folders / "pred" / "inference.json").write_text(content)
    assert command(folders) == 1
    assert f"{folders / 'pred' / 'inference.json'} {words}" in capsys.readouterr().err


def test_a_broken_picture_costs_no_case_its_scores(folders, caplog):
    (folders / "image" / "img0001.nii.gz").write_bytes(b"broken")
    assert command(folders, "--class_names", ",".join(NAMES), "--images", str(folders / "image")) == 0
    assert len(ScoreTable.read(folders / "out" / "scores_volumes.csv")) == 8
    assert "img0001.nii.gz is not a NIfTI volume" in caplog.text


def test_pictures_are_of_the_cuts_with_the_most_organs():
    label = np.zeros((6, 7, 8), np.uint8)
    label[1, 1:6, 1:7] = 1  # the largest of all, alone in most cuts
    label[4, 2, 3], label[4, 5, 3], label[4, 2, 6] = 2, 3, 2
    colors = class_colors(4)
    axial, coronal, sagittal = draw_planes(None, np.zeros_like(label), label, side=8)
    for plane, numbers in ((axial, {2, 3}), (coronal, {1, 2}), (sagittal, {1, 2, 3})):
        assert {n for n in (1, 2, 3) if (plane == colors[n]).all(axis=-1).any()} == numbers


def test_pictures_show_each_plane_the_right_way_up():
    pred = axial_slices(LABEL, AFFINE)
    image = np.full(pred.shape, -100)  # dark, yet no air
    image[-1, 0, -1] = 1000  # head, front, left
    label = np.zeros_like(pred)
    label[-1, 0, -1] = 1
    planes = draw_planes(image, np.zeros_like(pred), label, (5.0, 2.0, 1.5), side=52)
    assert [plane.shape for plane in planes] == [(52, 52, 3)] * 3
    sizes = [(52, 30), (45, 30), (45, 52)]  # of one scale: 45 mm high, 60 by 104 mm across
    places = []
    for plane, size in zip(planes, sizes, strict=True):
        top, left = (52 - size[0]) // 2, (52 - size[1]) // 2
        inside = plane[top : top + size[0], left : left + size[1]].max(axis=-1)
        assert (inside > 0).sum() == (plane.max(axis=-1) > 0).sum()  # black around
        places.append(np.argwhere(inside > 100).mean(axis=0) / size)
    assert places[0][0] < 0.1 and places[0][1] > 0.9  # axial: front up, left on the right
    assert places[1][0] < 0.2 and places[1][1] > 0.9  # coronal: head up, left on the right
    assert places[2][0] < 0.2 and places[2][1] < 0.1  # sagittal: head up, front on the left


def test_air_around_the_body_is_left_out_of_pictures():
    label = np.zeros((20, 40, 60), np.uint8)
    label[8:12, 18:22, 25:35] = 1
    image = np.full(label.shape, -1000)
    image[4:16, 10:30, 20:40] = 40  # twenty voxels across
    planes = draw_planes(image, label, label, side=40)
    assert [plane.shape for plane in planes] == [(40, 40, 3)] * 3
    assert planes[0].any(axis=-1).all()  # the body is all of it, twice as large
    assert planes[1].any(axis=-1).sum() == planes[2].any(axis=-1).sum() == 24 * 40
