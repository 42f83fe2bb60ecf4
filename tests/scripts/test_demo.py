"""The demo: its command line, and each task from data to pictures on tiny data."""

from __future__ import annotations

import shutil
from pathlib import Path

import demo
import demo_images
import demo_steps
import demo_synapse
import nibabel
import numpy as np
import pytest
from PIL import Image

from condseg_monai.reports.drawing import LABEL_COLOR, PREDICTION_COLOR, draw_heat_map
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.utils.method_files import METHODS

TINY = ["--image_size=32", "--decoder_channels=4", "--epochs=1", "--stage1_epochs=1", "--device=cpu"]
CONDSEG = METHODS["condseg"]


class TestCommandLine:
    def test_without_arguments_both_stages_run_on_synthetic_images(self):
        options = demo.parse([])
        assert (options.dataset_dir, options.output_dir) == (None, Path(demo.__file__).parents[1] / "demo_output")
        assert options.stage1 and options.options == demo.SMALL

    @pytest.mark.parametrize(
        ("words", "stage1", "expected"),
        [
            (["--no_stage1"], False, {"stage1_checkpoint": None}),
            (["--stage1_checkpoint", "x.pt"], False, {"stage1_checkpoint": "x.pt"}),
            (["--method", "dec_seg", "--labeled_fraction", "0.5"], False, {"labeled_fraction": 0.5, "epochs": 40}),
            (["--method", "med_disseg", "--dispersive_weight=0.1"], True, {"dispersive_weight": 0.1}),
            (["--task", "synapse", "--empty_share", "0.2"], True, {**demo.SMALL_CT, "empty_share": 0.2}),
        ],
    )
    def test_methods_and_tasks_have_options_of_their_own(self, words, stage1, expected):
        options = demo.parse(words)
        assert options.stage1 is stage1
        assert expected.items() <= options.options.items()

    def test_paths_are_absolute(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "weights.pth").touch()
        options = demo.parse(["--dataset_dir", "data", "--output_dir", "out", "--encoder_weights", "weights.pth"])
        assert (options.dataset_dir, options.output_dir) == (tmp_path / "data", tmp_path / "out")
        assert options.options["encoder_weights"] == str(tmp_path / "weights.pth")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--stage1_epoch", "3"], "no such option: stage1_epoch (did you mean stage1_epochs?);"),
            (["--ckpt_dir", "x"], "no such option: ckpt_dir"),
            (["--dispersive_weight", "1"], "no such option: dispersive_weight"),
            (["--no_stage1", "--stage1_checkpoint", "x.pt"], "exclude each other"),
            (["--task", "synapse", "--dataset_dir", "x"], "--task synapse takes no"),
            (["--task", "synapse", "--method", "dec_seg"], "--task synapse takes no"),
        ],
    )
    def test_wrong_arguments_end_with_a_message(self, words, message, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SystemExit, match="2"):
            demo.parse(words)
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(("words", "options"), [([], demo.SMALL), (["--task", "synapse"], demo.SMALL_CT)])
    def test_help_has_the_options_of_the_task(self, words, options, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SystemExit, match="0"):
            demo.parse([*words, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert said.endswith(", ".join(f"{name} {value}" for name, value in options.items()))


class TestSteps:
    @pytest.mark.parametrize("files", [CONDSEG.evaluate, CONDSEG.predict])
    def test_evaluation_and_inference_get_nothing_of_training_and_nothing_that_the_card_says(self, files):
        names = demo_steps.options_for(files, {**demo.SMALL, "cdfa": "released", "normalization": "released"}).keys()
        assert names.isdisjoint({"encoder", "decoder_channels", "cdfa", "image_size", "normalization"})
        assert names.isdisjoint({"epochs", "learning_rate", "encoder_weights", "panel_interval"})


def test_runs_are_numbered_and_never_share_a_folder(tmp_path: Path):
    assert [demo.make_run_dir(tmp_path / "out").name for _ in range(2)] == ["run_001", "run_002"]


# With regions and without them; tests/cli trains, evaluates and uses every method.
@pytest.mark.slow
@pytest.mark.parametrize("method", ["condseg", "dec_seg"])
def test_demo_on_own_data_leaves_scores_masks_and_a_sheet(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
):
    tiny = [word for word in TINY if method == "condseg" or not ("stage1" in word or "decoder" in word)]
    options = demo.parse(["--dataset_dir", str(tiny_dataset), "--no_stage1", "--method", method, *tiny])
    assert demo_images.ImagesDemo(options, tmp_path).run() == 0
    printed = capsys.readouterr().out
    report = tmp_path / "scores" / "report_test.html"
    assert "4 train, 3 val, 2 test images" in printed and "mDSC if everything were foreground" in printed
    assert "configs/train_stage1.json" not in printed
    for path in (tmp_path / "contact_sheet.png", report, f"tensorboard --logdir {tmp_path / 'tensorboard'}"):
        assert str(path) in printed
    assert "test_1.png" in report.read_text()
    assert (tmp_path / "predictions" / "uncertainty").exists() == (method == "condseg")
    for name in ("test_0.png", "overlay/test_1.png", "probability/test_1.png"):
        assert Image.open(tmp_path / "predictions" / name).size == (36, 40)
    masks = tmp_path / "condseg_polyp"  # the model that comes with the bundle, on one's own images
    assert {Image.open(masks / name).size for name in ("test_0.png", "overlay/test_1.png")} == {(36, 40)}
    assert str(masks / "overlay") in printed
    for split, count in (("val", 3), ("test", 2)):
        assert len(ScoreTable.read(tmp_path / "scores" / f"scores_{split}.csv")) == count
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png").convert("RGB"))
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 50
    colors = {color: (sheet[-20:] == color).all(axis=-1).sum() for color in (LABEL_COLOR, PREDICTION_COLOR)}
    assert min(colors.values()) > 50  # the legend
    certain = (sheet[-20:] == draw_heat_map([[1]])[0, 0]).all(axis=-1).sum()
    assert certain > 50


@pytest.mark.slow
def test_demo_fails_if_the_synthetic_images_were_not_learned(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(
        demo_images, "make_synthetic_dataset", lambda folder, image_size: shutil.copytree(tiny_dataset, folder)
    )
    assert demo_images.ImagesDemo(demo.parse(TINY), tmp_path).run() == 1
    output = capsys.readouterr()
    assert output.out.index("train_stage1.json") < output.out.index("train_stage2.json")
    assert "the validation mDSC is" in output.err
    assert {"stage1.pt", "model.pt"} <= {path.name for path in (tmp_path / "models").iterdir()}


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "--resume true"),
        (RuntimeError("Failed to evaluate"), 1, "demo: ValueError: no memory"),
    ],
)
def test_stopped_and_failed_demos_end_with_a_message(
    error, status, message, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(self: demo_images.ImagesDemo) -> int:
        raise error from ValueError("no memory")

    logged: list[Path] = []
    monkeypatch.setattr(demo, "log_to", logged.append)
    monkeypatch.setattr(demo_images.ImagesDemo, "run", stop)
    monkeypatch.setattr("sys.argv", ["demo", "--output_dir", str(tmp_path)])
    assert demo.main() == status
    assert logged == [tmp_path / "run_001" / "log.txt"]
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_synapse_goes_from_volumes_to_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(demo_synapse, "SHAPE", (8, 24, 32))
    monkeypatch.setattr(demo_synapse, "TRAINING_SCANS", 2)
    monkeypatch.setattr(demo_synapse, "TEST_SCANS", 1)
    options = demo.parse(["--task", "synapse", *TINY, "--val_interval=1", "--batch_size=4"])
    assert demo_synapse.SynapseDemo(options, tmp_path).run() == 1
    output = capsys.readouterr()
    assert "8 train and 8 val slices" in output.out
    assert 'configs/train_stage1.json","' in output.out
    assert "configs/inference_synapse.json" in output.out and "left kidney" in output.out
    assert "mean Dice of the organs in the test volumes is 0." in output.err
    scan, pred = (nibabel.load(tmp_path / folder / "scan00.nii.gz") for folder in ("scans/test/img", "predictions"))
    assert pred.shape == scan.shape == (32, 24, 8) and np.array_equal(pred.affine, scan.affine)
    assert pred.get_data_dtype() == np.uint8
    assert (tmp_path / "scores" / "report_volumes.html").is_file()
    assert Image.open(tmp_path / "contact_sheet.png").width > 400
