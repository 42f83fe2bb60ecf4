"""Tables and figures of the papers by one command."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import condseg_monai
from condseg_monai import FlexibleUNet
from condseg_monai.cli.workflows import option_names, read_configs
from condseg_monai.data.synthetic.ct_phantom import make_synthetic_ct
from condseg_monai.networks.encoders import load_encoder_weights
from condseg_monai.utils.options import read_options
from experiments.reproduce import __main__ as reproduce
from experiments.reproduce import pictures
from experiments.reproduce.items import ITEMS
from experiments.reproduce.synapse import prepare_slices
from experiments.reproduce.trainings import BUDGETS, FILES, Plan, Row


def call(monkeypatch: pytest.MonkeyPatch, output_dir: Path, *words: str, dataset_dir: Path | str = ".") -> int:
    item, *more = words
    places = ["--dataset_dir", str(dataset_dir), "--output_dir", str(output_dir)]
    monkeypatch.setattr("sys.argv", ["reproduce", item, *places, *more])
    return reproduce.main()


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.reproduce.trainings.run", lambda *_: pytest.fail("all is trained already"))


def read(path: Path) -> list[list[str]]:
    with path.open() as stream:
        return list(csv.reader(stream))


def plan(output_dir: Path, **options) -> Plan:
    return Plan(Path.cwd(), output_dir, **options)


@pytest.mark.parametrize("item", ITEMS)
def test_every_row_names_options_that_its_configs_have(item):
    for row in ITEMS[item].rows.values():
        files = FILES[row.method]
        stage1 = option_names(files.stage1 or files.train)
        for option in row.options:
            if "#" in option:  # a part that no option of its own reaches
                block, part = option.removeprefix("stage2_").split("#")
                loss = read_configs(files.train)[0][block]["_target_"]
                assert part in inspect.signature(getattr(condseg_monai, loss.rpartition(".")[2])).parameters
                continue
            known = stage1 if option.startswith("stage1_") else {*option_names(files.train), *stage1}
            assert option.removeprefix("stage1_") in known
            read_options(**{option.removeprefix("stage1_"): row.options[option]})


def test_part_of_the_second_stages_loss_leaves_the_first_stage_as_it_is(tmp_path):
    trainings = {name: plan(tmp_path).trainings(ITEMS["recipe"].rows[name]) for name in ("base", "beta_detached")}
    assert trainings["beta_detached"][0] == trainings["base"][0]
    assert trainings["beta_detached"][1].options["stage_loss#weight_gradient"] is False


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    """One folder for all tables, as the documentation says: what two of them want is trained once."""
    return tmp_path_factory.mktemp("papers")


# Rows of a sweep differ in the value of one option: one sweep of a number, the one with its own picture, one of a word.
SWEEPS = ("table7", "figure6", "med_disseg_kind")


@pytest.mark.slow
@pytest.mark.parametrize(
    "item", [name for name, item in ITEMS.items() if item.kind == "scores" and (not item.x or name in SWEEPS)]
)
def test_rows_of_every_table_are_trained_and_scored(item, tiny_dataset, output_dir, monkeypatch, capsys):
    """Two of each that has a picture, and one of the others and of a sweep, whose rows are values of one option."""
    rows = [*ITEMS[item].rows]
    if ITEMS[item].x:
        rows = rows[-1:]
    elif item == "dec_seg_labels":  # the labels alone, and another training behind it
        rows = rows[:4:3]
    else:
        rows = rows[: 2 if ITEMS[item].draw else 1]
    more = [item, "--rows", *rows, "--budget", "tiny", "--", "--device", "cpu"]
    call(monkeypatch, output_dir, *more, dataset_dir=tiny_dataset)
    assert (output_dir / f"{item}.md").read_text() in capsys.readouterr().out
    table = read(output_dir / f"{item}.csv")
    assert [row[0] for row in table[1:]] == [ITEMS[item].rows[name].title for name in rows]
    assert all(0 <= float(row[2]) <= 100 for row in table[1:])
    assert (output_dir / f"{item}.tex").read_text().count(r"\\") == len(rows) + 1
    assert (output_dir / f"{item}.png").exists() == (ITEMS[item].draw is not None)
    no_training(monkeypatch)
    call(monkeypatch, output_dir, *more, dataset_dir=tiny_dataset)


def test_a_training_is_shared_and_kept(tiny_dataset, tmp_path, monkeypatch, capsys):
    words = ["--budget", "tiny", "--", "--device", "cpu"]
    call(monkeypatch, tmp_path, "table3", "--rows", "net0_cr", *words, dataset_dir=tiny_dataset)
    folders = {path.name for path in (tmp_path / "trainings").iterdir()}
    assert folders == {"stage1"}
    settings = json.loads((tmp_path / "trainings" / "stage1" / "seed0" / "settings.json").read_text())
    assert settings["options"]["encoder"] == "resnet18" and settings["dataset_dir"] == str(tiny_dataset)
    no_training(monkeypatch)
    call(monkeypatch, tmp_path, "table3", "--rows", "net0_cr", *words, dataset_dir=tiny_dataset)
    assert "Net_0 with Consistency Reinforcement | 1 |" in capsys.readouterr().out
    words[1] = "small"
    assert call(monkeypatch, tmp_path, "table3", "--rows", "net0_cr", *words, dataset_dir=tiny_dataset) == 1
    assert "stage1/seed0 was trained with other data or options, see" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_training_that_was_cut_short_continues_or_begins_again(tiny_dataset, tmp_path, monkeypatch):
    words = ["table3", "--rows", "net0_cr", "--budget", "tiny", "--", "--device", "cpu"]
    models = tmp_path / "trainings" / "stage1" / "seed0" / "models"
    models.mkdir(parents=True)
    (models / "stage1.pt").write_bytes(b"of a first epoch that did not end")
    with monkeypatch.context() as patched:  # cut short between the training and the note that it ended
        patched.setattr("experiments.reproduce.trainings._seconds", lambda _: 1 / 0)
        assert call(patched, tmp_path, *words, dataset_dir=tiny_dataset) == 1
    trained = (models / "stage1_final.pt").stat().st_mtime_ns
    assert call(monkeypatch, tmp_path, *words, dataset_dir=tiny_dataset) == 0
    assert (models / "stage1_final.pt").stat().st_mtime_ns == trained and (models.parent / "trained.json").is_file()


@pytest.mark.slow
def test_other_images_are_scored_and_a_row_that_fails_does_not_stop_the_others(
    tiny_dataset, tmp_path, monkeypatch, capsys
):
    words = ["table3", "--rows", "net0", "net0_cr", "--seeds", "3", "--budget", "tiny"]
    other = shutil.copytree(tiny_dataset, tmp_path / "other")
    blocked = tmp_path / "out" / "trainings" / "stage1.without_cr"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")
    more = [*words, "--score_dir", str(other), "--split", "val", "--", "--device", "cpu"]
    assert call(monkeypatch, tmp_path / "out", *more, dataset_dir=tiny_dataset) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("failed: Net_0, seed 3: ")
    (scores,) = (tmp_path / "out").glob("trainings/stage1/seed3/scores_other_*/scores_val.csv")
    assert len(read(scores)) == 4
    assert "scored on val.txt of other" in (tmp_path / "out" / "table3.md").read_text()


def test_several_lists_are_scored_after_one_training_and_have_a_table_each(tmp_path, monkeypatch, without_settings):
    row = ITEMS["figure6"].rows["0.5"]
    scored(tmp_path, row)
    for split, score in (("cvc_300", "0.25"), ("kvasir", "0.45")):
        file = plan(tmp_path, split=split).scores(row, 0)
        file.write_text(f"file,mean_dice,mean_iou\na,0.5,{score}\nb,0.7,0.35\n")
    assert call(monkeypatch, tmp_path, "figure6", "--rows", "0.5", "--split", "cvc_300", "kvasir") == 0
    tables = {file.name: read(file)[1][2] for file in tmp_path.glob("*.csv")}
    assert tables == {"figure6_cvc_300.csv": "30.0", "figure6_kvasir.csv": "40.0"}
    assert "scored on kvasir.txt of" in (tmp_path / "figure6_kvasir.md").read_text()
    assert {file.name for file in tmp_path.glob("*.png")} == {"figure6_cvc_300.png", "figure6_kvasir.png"}


def test_a_list_that_is_not_there_is_found_before_any_training(tiny_dataset, tmp_path, monkeypatch, capsys):
    no_training(monkeypatch)
    words = ["figure6", "--rows", "0.5", "--split", "test", "kvasir"]
    assert call(monkeypatch, tmp_path, *words, dataset_dir=tiny_dataset) == 1
    assert f"there is no {tiny_dataset / 'kvasir.txt'} to score" in capsys.readouterr().err.splitlines()[-1]


def test_a_training_by_other_defaults_is_refused(tmp_path):
    here, row = plan(tmp_path), ITEMS["med_disseg_kind"].rows["infonce_cosine"]
    for training in here.trainings(row):
        folder = here.folder(training, 0)
        (folder / "models").mkdir(parents=True)
        here._check_settings(training, folder)
        record = folder / "models" / f"run_{training.files[0].removeprefix('train_')}.json"
        options = {"dispersive_kind": "infonce_cosine", "bundle_root": "elsewhere", "an_old_option": 1}
        record.write_text(json.dumps({"options": options}))
        here._check_settings(training, folder)
        record.write_text(json.dumps({"options": {**options, "dispersive_kind": "infonce_l2"}}))
        with pytest.raises(ValueError, match="was trained with dispersive_kind infonce_l2, and now it is infonce_cos"):
            here._check_settings(training, folder)


def test_scores_over_thresholds_are_columns_of_scores_of_their_own(tmp_path, monkeypatch, without_settings):
    row, given = ITEMS["figure5"].rows["unet"], {"saliency_scores": True, "stretch": True}
    scored(tmp_path, row, curve=True)
    file = plan(tmp_path, given=given).scores(row, 0)
    assert file.parent.name == "scores_saliency_scores=True_stretch=True"
    assert plan(tmp_path).trainings(row) == plan(tmp_path, given=given).trainings(row)
    file.parent.mkdir()
    file.write_text("file,mean_dice,mean_iou,swept_iou_original,swept_dice_original\na,0.5,0.25,0.2,0.4\n")
    words = ["figure5", "--rows", "unet", "--", "--saliency_scores", "True", "--stretch", "True"]
    assert call(monkeypatch, tmp_path, *words) == 0
    titles, numbers = (row[2:10:2] for row in read(tmp_path / "figure5.csv"))
    assert titles == ["mIoU", "mDSC", "mIoU over thresholds", "mDSC over thresholds"]
    assert numbers == ["25.0", "50.0", "20.0", "40.0"]


def test_equal_trainings_have_one_name_whatever_their_table(tmp_path):
    small = plan(tmp_path, budget="small")
    names = {
        (item, name): [training.name for training in small.trainings(ITEMS[item].rows[name])]
        for item, name in [("table3", "two_stages"), ("table4", "sa_decoder"), ("table7", "3"), ("figure7", "bce")]
    }
    assert set(map(tuple, names.values())) == {("stage1", "stage1+stage2")}
    assert small.trainings(ITEMS["table7"].rows["5"])[1].name == "stage1+stage2-cdfa_window=5"
    assert small.trainings(ITEMS["table6"].rows["20"])[1].name == "stage1-epochs=20+stage2"
    assert small.trainings(ITEMS["table3"].rows["net0"])[0].name == "stage1.without_cr"


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_training_has_a_folder_of_its_own_whose_name_is_short_enough(tmp_path, budget):
    here = plan(tmp_path, budget=budget)
    rows = [row for item in ITEMS.values() if item.kind != "speed" for row in item.rows.values()]
    folders = {training.name: here.folder(training, 0).parent for row in rows for training in here.trainings(row)}
    assert len(set(folders.values())) == len(folders) and max(len(folder.name) for folder in folders.values()) < 255


def test_every_recipe_has_weights_that_its_encoder_can_start_from(tmp_path):
    small = plan(tmp_path, budget="small")
    firsts = [small.trainings(row)[0] for row in ITEMS["recipe"].rows.values()]
    options = [{**read_configs(first.files)[0], **first.options} for first in firsts]
    starts = {(each["encoder"], each["encoder_weights"], each["norm"]) for each in options}
    assert len(starts) == 4
    for encoder, weights, norm in starts:
        load_encoder_weights(FlexibleUNet(encoder=encoder, norm=norm), weights)


def test_stages_get_the_options_of_budget_row_and_command_line(tmp_path):
    small = plan(tmp_path, budget="small", given={"stage1_batch_size": 3})
    first, second = small.trainings(ITEMS["med_disseg_table3"].rows["disp1"])
    assert (first.files, second.files) == (("train_stage1", "med_disseg"), ("train_stage2", "med_disseg"))
    assert ("dispersive_weight" in first.options, second.options["dispersive_weight"]) == (
        False,
        0.0,
    )  # 0.2, by default
    assert [training.options["epochs"] for training in (first, second)] == [5, 15]
    assert [training.options["batch_size"] for training in (first, second)] == [3, 8]
    assert "cdfa_window" not in first.options and not any(name.startswith("stage1_") for name in first.options)
    (training,) = small.trainings(ITEMS["dec_seg_labels"].rows["both30%"])
    assert training.options["epochs"] == 15  # a third of 45: with three times the labels as many steps
    alone, after = small.trainings(ITEMS["dec_seg_labels"].rows["after30%"])
    assert after.name.startswith(f"{alone.name}+") and alone.options["unlabeled_batch_size"] == 0
    (longer,) = small.trainings(ITEMS["dec_seg_labels"].rows["longer30%"])
    assert longer.options["epochs"] == 30  # as many steps as the two of after30%
    (resnet,) = small.trainings(Row("", "flexible_unet", {"encoder": "resnet18"}))
    assert resnet.options["encoder_weights"] is None and resnet.options["encoder"] == "resnet18"


def test_epochs_that_are_given_are_those_of_every_training_but_for_a_stage_of_its_own(tmp_path):
    small = plan(tmp_path, budget="small", given={"epochs": 30})
    assert [training.options["epochs"] for training in small.trainings(Row(""))] == [30, 30]
    assert [training.options["epochs"] for training in small.trainings(ITEMS["table6"].rows["20"])] == [20, 30]
    assert [training.options["epochs"] for training in small.trainings(ITEMS["dec_seg"].rows["all"])] == [30, 30]
    small = small._replace(given={"epochs": 30, "stage1_epochs": 10})
    assert [training.options["epochs"] for training in small.trainings(Row(""))] == [10, 30]


def test_budget_of_the_paper_is_that_of_each_method(tmp_path):
    paper = plan(tmp_path, budget="paper")
    own = {"num_workers", "panel_interval", "progress_bar"}
    options = {
        name: [{key: value for key, value in training.options.items() if key not in own} for training in trainings]
        for name, trainings in ((name, paper.trainings(row)) for name, row in ITEMS["methods"].rows.items())
    }
    assert options["condseg"] == [{}, {}] and options["one_stage"] == [{}]
    widths = {"unet": 64, "unet_plus_plus": 32, "attention_unet": 64}
    for name, width in widths.items():
        (training,) = paper.trainings(ITEMS["methods"].rows[name])
        defaults = {key: value for config in read_configs(training.files) for key, value in config.items()}
        assert {**defaults, **training.options}["decoder_channels"] == width
        assert options[name] in ([{}], [{"decoder_channels": width}])
    first = {"epochs": 600, "early_stop_patience": 200, "batch_size": 8}
    assert options["med_disseg"] == [first, {"batch_size": 8, "encoder_learning_rate": 1e-4}]
    *_, dec_seg = paper.trainings(ITEMS["dec_seg"].rows["all"])
    assert dec_seg.options["early_stop_patience"] == 200 == read_configs(("train_dec_seg",))[0]["epochs"]
    assert [training.name for training in paper.trainings(ITEMS["methods"].rows["med_disseg"])] == [
        "stage1.med_disseg",
        "stage1.med_disseg+stage2.med_disseg",
    ]
    text = reproduce.about(ITEMS["methods"], ITEMS["methods"].rows, paper, [0])
    assert "; for med_disseg stage1_epochs 600, stage1_early_stop_patience 200, batch_size 8, enc" in text
    assert "for condseg" not in text


def test_recommended_row_has_the_options_of_the_preset_and_the_epochs_of_the_budget(tmp_path):
    first, second = plan(tmp_path, budget="small").trainings(ITEMS["methods"].rows["condseg_recommended"])
    assert [training.options["epochs"] for training in (first, second)] == [5, 15]
    (preset,) = read_configs(("preset_recommended",))
    defaults = {key: value for config in read_configs(second.files) for key, value in config.items()}
    for name in preset["+options"].keys() - {"epochs"}:
        assert {**defaults, **second.options}[name] == preset[name], name


def test_encoders_without_weights_in_a_package_start_at_random_and_the_caption_says_so(tmp_path):
    rows, small = ITEMS["table9"].rows, plan(tmp_path, budget="small")
    assert [name for name, row in rows.items() if not small.starts_at_random(row)] == ["efficientnet_lite0"]
    text = reproduce.about(ITEMS["table9"], rows, small, [0])
    assert text.endswith(
        "From random weights, not ImageNet's: " + ", ".join(f"encoder {n}" for n in [*rows][:-1]) + "."
    )
    asked = small._replace(given={"encoder_weights": "imagenet"})
    assert "encoder_weights" not in asked.trainings(rows["resnet18"])[0].options  # the default, imagenet
    assert not any(plan(tmp_path, budget="paper").starts_at_random(row) for row in rows.values())


@pytest.fixture
def runs(monkeypatch):
    """What trainings are called with, in place of training."""
    calls = []

    def run(files, options, *_):
        calls.append(options)
        models = Path(options["ckpt_dir"])
        start = options["init_from"] or options["stage1_checkpoint"]
        record = {"result": {"seconds": 1}, "starts_from": start and {"checkpoint": start}}
        models.mkdir(parents=True, exist_ok=True)
        (models / "run_stage.json").write_text(json.dumps(record))
        (models / "resume_stage.state").touch()
        if options.get("epochs") == 13:
            raise RuntimeError("killed")

    monkeypatch.setattr("experiments.reproduce.trainings.run", run)
    return calls


def test_training_that_was_cut_short_resumes_from_its_state_and_without_one_begins_again(tmp_path, runs):
    row = Row("", "net0", {"epochs": 13})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            plan(tmp_path).train(row, 0)
    (folder,) = (tmp_path / "trainings").glob("*/seed0")
    (folder / "models" / "resume_stage.state").unlink()
    with pytest.raises(RuntimeError, match="killed"):
        plan(tmp_path).train(row, 0)
    assert [(call["resume"], call["overwrite"]) for call in runs] == [(False, True), (True, False), (False, True)]
    plan(tmp_path).train(Row("", "net0"), 0)
    assert not [*(tmp_path / "trainings" / "stage1" / "seed0" / "models").glob("*.state")]


def test_list_that_is_missing_is_named_before_any_training(tmp_path, runs):
    with pytest.raises(FileNotFoundError, match=r"there is no .*/data/val.txt to score: give another --split"):
        plan(tmp_path, split="val", score_dir=tmp_path / "data").train_and_score(Row(""), 0)
    assert not runs


def test_training_from_other_weights_of_stage_1_is_refused(tmp_path, runs):
    plan(tmp_path, last=True).train(Row(""), 0)
    plan(tmp_path, last=True).train(Row(""), 0)
    assert len(runs) == 2 and runs[1]["stage1_checkpoint"].endswith("stage1_final.pt")
    with pytest.raises(ValueError, match=r"seed0 started from stage1_final.pt, not from stage1.pt: give --last"):
        plan(tmp_path).train(Row(""), 0)


def test_options_without_effect_make_no_other_training(tmp_path, runs):
    plan(tmp_path, given={"device": "cpu", "num_workers": 2}).train(Row("", "net0"), 0)
    plan(tmp_path, given={"device": "cuda", "save_interval": 0}).train(Row("", "net0"), 0)
    assert len(runs) == 1
    with pytest.raises(ValueError, match="was trained with other data or options"):
        plan(tmp_path, given={"batch_size": 3}).train(Row("", "net0"), 0)


def test_cases_of_pictures_are_named_as_their_scores_and_come_from_what_is_scored(tiny_dataset, tmp_path):
    other = tmp_path / "other"
    for kind in ("images", "masks"):
        for name in ("day_1/a", "day_2/a", "b"):
            path = other / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8)).save(path)
    (other / "val.txt").write_text("day_2/a\nb\nday_1/a\n")
    here = Plan(tiny_dataset, tmp_path, split="val", score_dir=other)
    cases = pictures._cases(here)
    assert [*cases] == ["b.png", "day_1/a.png", "day_2/a.png"]
    assert cases["day_2/a.png"]["image"] == str(other / "images" / "day_2" / "a.png")


def test_slices_of_other_scans_are_refused(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"source": "/scans"}))
    prepare_slices(Path("/scans"), tmp_path, None, {})
    with pytest.raises(ValueError, match="was made of /scans, not of /others: give another --output_dir"):
        prepare_slices(Path("/others"), tmp_path, None, {})


def scored(output_dir: Path, row: Row, *, curve: bool = False, processor_seconds: float | None = 50) -> None:
    """What a training and its scores leave."""
    here = plan(output_dir)
    for training in here.trainings(row):
        folder = here.folder(training, 0)
        (folder / "scores").mkdir(parents=True)
        lines = ["file,mean_dice,mean_iou", "a,0.5,0.25", "b,0.7,0.35"]
        (folder / "scores" / "scores_test.csv").write_text("\n".join(lines) + "\n")
        (folder / "trained.json").write_text(json.dumps({"seconds": 60, "processor_seconds": processor_seconds}))
        if curve:
            text = "epoch,learning_rate/encoder,loss/total,val_loss,val_mean_iou\n1,0.1,2,1,0.25\n2,0.1,2,1,0.5\n"
            (folder / "history_stage2.csv").write_text(text)


@pytest.fixture
def without_settings(monkeypatch):
    no_training(monkeypatch)
    monkeypatch.setattr(Plan, "_check_settings", lambda *_: None)
    monkeypatch.setattr(Plan, "cost", lambda *_: (1.5, 2.0))


def test_published_numbers_stand_beside_ours(tmp_path, monkeypatch, without_settings):
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset.json").write_text('{"dataset": "kvasir-sessile"}')
    scored(tmp_path, ITEMS["table1"].rows["unet"], processor_seconds=None)  # it was cut short, and resumed
    scored(tmp_path, ITEMS["table1"].rows["condseg"])
    call(monkeypatch, tmp_path, "table1", "--rows", "unet", "condseg", dataset_dir=data)
    table = read(tmp_path / "table1.csv")
    assert [row[0] for row in table] == ["", "U-Net", "ConDSeg"]
    assert [row[-1] for row in table[1:]] == ["23.1", "81.2"]
    assert (table[1][2], *table[2][-5:-1]) == ("30.0", "120", "100", "1.50", "2.00")
    assert table[1][-5:-3] == ["60", ""]
    (data / "dataset.json").write_text('{"dataset": "glas"}')
    call(monkeypatch, tmp_path, "table1", "--rows", "unet", "condseg", dataset_dir=data)
    assert [row[-1] for row in read(tmp_path / "table1.csv")[1:]] == ["", ""]


def test_published_numbers_do_not_stand_beside_scores_of_other_data(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset.json").write_text('{"dataset": "kvasir-sessile"}')
    assert Plan(data, tmp_path).data_set == Plan(data, tmp_path, score_dir=data).data_set == "kvasir-sessile"
    assert Plan(data, tmp_path, score_dir=tmp_path).data_set == ""


def test_rows_of_other_images_are_not_compared(tmp_path, monkeypatch, capsys, without_settings):
    for name in ("unet", "condseg"):
        scored(tmp_path, ITEMS["table1"].rows[name])
    here = plan(tmp_path)
    path = here.scores(ITEMS["table1"].rows["condseg"], 0)
    path.write_text(path.read_text().replace("b,", "c,"))
    assert call(monkeypatch, tmp_path, "table1", "--rows", "unet", "condseg") == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(f"ConDSeg, seed 0: {path} has other images than the first row's: move it away")
    )


def test_sweeps_are_drawn(tmp_path, monkeypatch, without_settings):
    for name in ("5", "10"):
        scored(tmp_path, ITEMS["table6"].rows[name])
    call(monkeypatch, tmp_path, "table6", "--rows", "5", "10")
    assert Image.open(tmp_path / "table6.png").size == (600, 400)


def test_thresholds_of_training_and_of_evaluation_are_drawn_beside_the_calibration(
    tmp_path, monkeypatch, without_settings
):
    row, drawn = ITEMS["figure6"].rows["0.5"], []
    scored(tmp_path, row)
    curves = {"thresholds": {"threshold": [0.5, 0.75], "mean_iou": [0.25, 0.125]}}
    curves["calibration"] = {"probability": [None, 0.5], "lesion": [None, 0.25]}
    plan(tmp_path).scores(row, 0).with_name("summary_test.json").write_text(json.dumps(curves))
    plot = "matplotlib.axes.Axes.plot"
    monkeypatch.setattr(plot, lambda _, x, y, **style: drawn.append((style.get("label"), [*x], [*y])))
    monkeypatch.setattr("matplotlib.figure.Figure.legend", lambda *_, **__: None)
    call(monkeypatch, tmp_path, "figure6", "--rows", "0.5")
    assert drawn[0] == ("threshold 0.5", [0.5, 0.75], [0.25, 0.125]) and drawn[1][2][1] == 0.25
    assert read(tmp_path / "figure6.csv")[1][8] == "25.0"  # at the best threshold
    assert Image.open(tmp_path / "figure6.png").size == (1500, 400)


def test_curves_are_those_of_the_trainings(tmp_path, monkeypatch, without_settings):
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda _, x, y, label, **style: drawn.append((label, x, y)))
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda _: None)
    scored(tmp_path, ITEMS["figure5"].rows["unet"], curve=True)
    call(monkeypatch, tmp_path, "figure5", "--rows", "unet")
    assert drawn == [("U-Net", [1, 2], [0.25, 0.5])]


def test_figure_is_drawn_without_a_row_that_failed_and_the_last_line_names_it(
    tmp_path, monkeypatch, capsys, without_settings
):
    scored(tmp_path, ITEMS["figure5"].rows["unet"], curve=True)

    def fail(*_):
        raise ValueError("no such data")

    monkeypatch.setattr("experiments.reproduce.trainings.run", fail)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.txt").touch()
    words = ["figure5", "--rows", "unet", "--seeds", "0", "1"]
    assert call(monkeypatch, tmp_path, *words, dataset_dir=tmp_path / "data") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "failed: U-Net, seed 1: no such data"
    assert Image.open(tmp_path / "figure5.png").size == (600, 400)


@pytest.mark.slow
def test_speed_is_measured_without_data(tmp_path, monkeypatch):
    call(monkeypatch, tmp_path, "table8", "--rows", "unet", "condseg", "--budget", "tiny", "--", "--device", "cpu")
    table = read(tmp_path / "table8.csv")
    assert [row[0] for row in table[1:]] == ["U-Net", "ConDSeg"]
    assert [row[-1] for row in table[1:]] == ["", "59.6"]
    assert all(abs(float(row[1]) * float(row[2]) / 1000 - 1) < 0.1 for row in table[1:])
    assert "32x32, one image at a time, float32, a CPU" in (tmp_path / "table8.md").read_text()


@pytest.mark.slow
def test_ct_is_prepared_trained_segmented_and_scored_by_both_rules(tmp_path, monkeypatch):
    scans = make_synthetic_ct(tmp_path / "scans", 3, (8, 24, 32))
    words = ["--budget", "tiny", "--hold_out", "val=1", "test=1", "--source_labels", "transunet"]
    call(monkeypatch, tmp_path / "out", "table10", *words, "--", "--device", "cpu", dataset_dir=scans)
    table = read(tmp_path / "out" / "table10.csv")
    assert table[0] == ["organ", "Dice", "HD95, mm", "Dice, TransUNet's rule", "HD95, TransUNet's rule, voxels"]
    assert [table[1][0], table[-1][0], len(table)] == ["aorta", "mean", 10]


def test_option_that_only_rows_left_out_set_may_be_given():
    words = ["methods", "--rows", "flexible_unet", "--dataset_dir", ".", "--output_dir", "out", "--"]
    assert reproduce.parse([*words, "--learning_rate", "1e-3"])[1].given == {"learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table7", "--rows", "2"], "table7 has 1, 3, 5, 7, not 2"),
        (["table5"], "invalid choice"),
        (["table7", "--", "--image_sise", "3"], "after --"),
        (["table7", "--", "--cdfa_window", "3"], "the rows of table7 differ in cdfa_window: leave it out"),
        (["table7", "--", "--seed", "3"], "after --: seed is set by this program, see --help: leave it out"),
        (["table7", "--", "--stage1_checkpoint", "a.pt"], "stage1_checkpoint is set by this program"),
        (["table10", "--split", "val", "test"], "--split: table10 scores one list, got val test"),
        (["table10", "--seeds", "0", "1"], "--seeds: table10 takes one seed, got 2: call it once for each"),
        (["table10", "--hold_out", "val"], "--hold_out: expected SPLIT=N, such as val=1, got val"),
    ],
)
def test_wrong_arguments_end_with_a_message(words, message, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path, *words)
    assert message in capsys.readouterr().err
