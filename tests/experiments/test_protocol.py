"""Protocol on real polyp images."""

import pytest
from monai.bundle import ConfigParser
from PIL import Image

from condseg_monai.cli.workflows import config_file
from experiments import polyp_lists, protocol


def dataset(path, lists):
    for folder in ("images", "masks"):
        (path / folder).mkdir(parents=True)
    for split, stems in lists.items():
        (path / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            Image.new("RGB", (8, 8)).save(path / "images" / f"{stem}.jpg")
            Image.new("L", (8, 8)).save(path / "masks" / f"{stem}.png")
    return path


def test_images_trained_on_are_not_scored(tmp_path, monkeypatch):
    sessile = dataset(tmp_path / "sessile", {"train": ["a", "b"], "val": ["e"], "test": ["f"]})
    kvasir = dataset(tmp_path / "kvasir", {"train": ["b", "c", "d", "e"]})
    words = ["--sessile_dir", str(sessile), "--kvasir_dir", str(kvasir), "--output_dir", str(tmp_path / "dataset")]
    monkeypatch.setattr("sys.argv", ["polyp_lists", *words])
    polyp_lists.main()
    assert (tmp_path / "dataset" / "train.txt").read_text().split() == ["a", "b"]
    assert sorted((tmp_path / "dataset" / "val.txt").read_text().split()) == ["c", "d"]
    for folder, end in (("images", "jpg"), ("masks", "png")):
        files = sorted((tmp_path / "dataset" / folder).iterdir())
        assert [file.name for file in files] == [f"{stem}.{end}" for stem in "abcd"]
        assert files[1].resolve().parent == sessile / folder
        assert files[2].resolve().parent == kvasir / folder
    (sessile / "masks" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"sessile/masks has no file for a: complete the data set"):
        polyp_lists.link_lists({"train": (sessile, ["a"])}, tmp_path / "again")


def test_parts_of_the_configs_that_it_changes_exist():
    for stage in ("train_stage1", "train_stage2"):
        parser = ConfigParser(ConfigParser.load_config_file(config_file(stage)))
        for name in protocol.OPTIONS:
            if "#" in name:
                assert name in parser
        assert parser["transforms#augment#3"]["_target_"] == "RandRotated"


def test_options_of_the_bundle_come_after_a_double_dash(capsys):
    own = ["--sessile_dir", "s", "--kvasir_dir", "k", "--output_dir", "o", "--overlay", "unet.json", "--epochs", "15"]
    options, given = protocol.parse([*own, "--", "--learning_rate", "1e-3", "--cdfa", "released"])
    assert (options.overlay, options.epochs, options.stage1_epochs) == (["unet.json"], 15, 5)
    assert given == {"learning_rate": 1e-3, "cdfa": "released"}
    with pytest.raises(SystemExit):
        protocol.parse([*own, "--", "--cdfa"])
    assert "after --: --cdfa needs a value" in capsys.readouterr().err


def test_encoder_is_slower_after_stage_1_only(monkeypatch, tmp_path):
    sessile = dataset(tmp_path / "sessile", {"train": ["a"]})
    kvasir = dataset(tmp_path / "kvasir", {"val": ["b"]})
    runs = []

    def run(configs, options):
        runs.append((configs, options["encoder_learning_rate"], options["stage1_checkpoint"]))
        if "evaluate" in configs:
            (tmp_path / name / "eval").mkdir()
            (tmp_path / name / "eval" / "summary_val.json").write_text("{}")

    monkeypatch.setattr(protocol, "run", run)
    arguments = ["protocol", "--sessile_dir", str(sessile), "--kvasir_dir", str(kvasir)]
    for name, more in (("both", []), ("one", ["--no_stage1"]), ("own", ["--", "--encoder_learning_rate", "0.5"])):
        monkeypatch.setattr("sys.argv", [*arguments, "--output_dir", str(tmp_path / name), *more])
        protocol.main()
    rates = [(configs[0], rate) for configs, rate, _ in runs if "evaluate" not in configs]
    first, second = "train_stage1", "train_stage2"
    assert rates == [(first, 3e-3), (second, 5e-4), (second, 3e-3), (first, 0.5), (second, 0.5)]
    assert [checkpoint is None for _, _, checkpoint in runs] == [False] * 3 + [True] * 2 + [False] * 3
