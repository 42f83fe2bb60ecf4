import pytest
from PIL import Image

from experiments import protocol


def dataset(path, lists):
    for folder in ("images", "masks"):
        (path / folder).mkdir(parents=True)
    for split, stems in lists.items():
        (path / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            Image.new("RGB", (8, 8)).save(path / "images" / f"{stem}.jpg")
            Image.new("L", (8, 8)).save(path / "masks" / f"{stem}.png")
    return path


def test_images_trained_on_are_not_scored(tmp_path):
    sessile = dataset(tmp_path / "sessile", {"train": ["a", "b"]})
    kvasir = dataset(tmp_path / "kvasir", {"val": ["b", "c", "d"]})
    protocol.link_dataset(sessile, kvasir, tmp_path / "dataset")
    assert (tmp_path / "dataset" / "train.txt").read_text().split() == ["a", "b"]
    assert (tmp_path / "dataset" / "val.txt").read_text().split() == ["c", "d"]
    for folder, end in (("images", "jpg"), ("masks", "png")):
        files = sorted((tmp_path / "dataset" / folder).iterdir())
        assert [file.name for file in files] == [f"{stem}.{end}" for stem in "abcd"]
        assert files[1].resolve().parent == sessile / folder
        assert files[2].resolve().parent == kvasir / folder


def test_knobs_come_after_a_double_dash():
    own = ["--sessile_dir", "s", "--kvasir_dir", "k", "--output_dir", "o", "--overlay", "unet.json", "--epochs", "15"]
    options, knobs = protocol.parse([*own, "--", "--learning_rate", "1e-3", "--cdfa", "released", "--cache", "None"])
    assert (options.overlay, options.epochs, options.stage1_epochs) == (["unet.json"], 15, 5)
    assert knobs == {"learning_rate": 1e-3, "cdfa": "released", "cache": None}


@pytest.mark.parametrize("knobs", [["--cdfa"], ["cdfa", "released"]])
def test_knobs_without_a_name_or_a_value_are_refused(knobs, capsys):
    with pytest.raises(SystemExit):
        protocol.parse(["--sessile_dir", "s", "--kvasir_dir", "k", "--output_dir", "o", "--", *knobs])
    assert "as --name value" in capsys.readouterr().err


def test_encoder_is_slower_after_stage_1_only(monkeypatch, tmp_path):
    sessile = dataset(tmp_path / "sessile", {"train": ["a"]})
    kvasir = dataset(tmp_path / "kvasir", {"val": ["b"]})
    runs = []

    def run(configs, knobs):
        runs.append((configs, knobs["encoder_learning_rate"], knobs["stage1_checkpoint"]))
        if "evaluate.json" in configs:
            (tmp_path / name / "eval").mkdir()
            (tmp_path / name / "eval" / "summary_val.json").write_text("{}")

    monkeypatch.setattr(protocol, "run", run)
    arguments = ["protocol", "--sessile_dir", str(sessile), "--kvasir_dir", str(kvasir)]
    for name, more in (("both", []), ("one", ["--no_stage1"]), ("own", ["--", "--encoder_learning_rate", "0.5"])):
        monkeypatch.setattr("sys.argv", [*arguments, "--output_dir", str(tmp_path / name), *more])
        protocol.main()
    rates = [(configs[0], rate) for configs, rate, _ in runs if "evaluate.json" not in configs]
    first, second = "train_stage1.json", "train_stage2.json"
    assert rates == [(first, 3e-3), (second, 5e-4), (second, 3e-3), (first, 0.5), (second, 0.5)]
    assert [checkpoint is None for _, _, checkpoint in runs] == [False] * 3 + [True] * 2 + [False] * 3
