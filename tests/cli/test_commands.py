"""Commands of ``condseg``."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli import convert, prepare
from condseg_monai.cli.commands import condseg_program, main
from condseg_monai.data.lists.published_splits import published_list
from condseg_monai.data.prepare.download_layouts import LAYOUTS
from condseg_monai.networks.encoders import ENCODERS
from condseg_monai.networks.released.condseg import RELEASED_MODELS
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.options import OPTIONS
from tests.ct import AFFINE, phantom, write_nifti


@pytest.fixture
def kvasir(tmp_path) -> Path:
    """Four of the 880 training images and two of the 120 for validation, as they are downloaded."""
    rng = np.random.default_rng(0)
    for name in published_list("kvasir-seg", "train")[:4] + published_list("kvasir-seg", "val")[:2]:
        for folder, shape in (("images", (8, 12, 3)), ("masks", (8, 12))):
            (tmp_path / "zip" / folder).mkdir(parents=True, exist_ok=True)
            values = rng.integers(0, 256, shape) if folder == "images" else (np.indices(shape)[1] > 8) * 255
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "zip" / folder / f"{name}.jpg", quality=95)
    return tmp_path / "zip"


def test_prepare_and_check_go_together(tmp_path, kvasir, capsys):
    target = tmp_path / "kvasir"
    assert main(["prepare", "kvasir-seg", str(kvasir), str(target)]) == 1
    output = capsys.readouterr()
    assert not output.out and "  - train.txt lacks 876 of 880 cases" in output.err
    assert output.err.splitlines()[-1].startswith("error: ") and "is not complete" in output.err.splitlines()[-1]

    assert main(["prepare", "kvasir-seg", str(kvasir), str(target), "--allow_missing", "--hold_out", "test=1"]) == 0
    said = capsys.readouterr().out
    assert "val: 2 cases, published: DebeshJha/ColonSegNet val.txt" in said
    assert "test: 1 cases, our own split, not published: 1 of the training cases" in said
    assert "without 876 that have no files" in said and f"check {target}" in said

    assert main(["check", str(target)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[3].split()[:3] == ["train", "3", "0"] and "0 error(s)" in said
    assert said.splitlines()[-2:] == ["Next", f"  condseg train {target}"]

    next(iter((target / "masks").iterdir())).unlink()
    assert main(["check", str(target)]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["Next, when that is corrected", f"  condseg check {target}"]


def test_check_of_test_sets_alone_ends_with_the_evaluation(tmp_path, kvasir, capsys):
    target = tmp_path / "dst"
    assert main(["prepare", "kvasir-seg", str(kvasir), str(target), "--allow_missing"]) == 0
    (target / "train.txt").unlink()
    assert main(["check", str(target)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"  condseg evaluate MODEL {target} --split val"


def test_check_fails_on_errors_alone_and_speaks_json(tmp_path, kvasir, capsys):
    main(["prepare", "kvasir-seg", str(kvasir), str(tmp_path / "kvasir"), "--allow_missing"])
    first = published_list("kvasir-seg", "train")[0]
    Image.new("L", (12, 8)).save(tmp_path / "kvasir" / "masks" / f"{first}.jpg")
    capsys.readouterr()
    assert main(["check", str(tmp_path / "kvasir"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and report["splits"]["train"]["empty_masks"] == 1
    assert [warning["kind"] for warning in report["warnings"]] == ["empty mask"]

    (tmp_path / "kvasir" / "images" / f"{first}.jpg").write_bytes(b"")
    assert main(["check", str(tmp_path / "kvasir"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and [error["kind"] for error in report["errors"]] == ["unreadable"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["check", "DIR", "--mask_threshold", "255"], "mask_threshold must be in [0, 255), got 255"),
        (["check", "OUT"], "OUT does not exist"),
        (["check", __file__], "test_commands.py is not a folder"),
        (["prepare", "glas", "DIR", "OUT", "--hold_out", "val"], "hold_out must be SPLIT=N"),
        (["prepare", "glas", "DIR", "OUT"], "it should hold train_1.bmp"),
    ],
)
def test_useless_arguments_are_one_line_on_stderr(tmp_path, capsys, arguments, words):
    (tmp_path / "DIR").mkdir()
    places = {"DIR": str(tmp_path / "DIR"), "OUT": str(tmp_path / "OUT")}
    assert main([places.get(argument, argument) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1


COMMANDS = sorted(condseg_program.commands)


def test_export_into_a_folder_is_refused_before_the_model_is_read(tmp_path, capsys):
    assert main(["export", "no model", str(tmp_path), "--format", "onnx", "--overwrite"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {tmp_path} is a folder: give the path of a file"


def test_every_command_has_a_line_of_help(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert any(line.startswith(f"  {command} ") and line.endswith(".") for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: condseg {command} ")


def test_help_of_prepare_names_the_files_of_each_data_set(capsys):
    assert main(["prepare", "--help"]) == 0
    assert "ISBI2016_ISIC_Part1_Training_Data" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["chek"], "No such command 'chek'. Did you mean 'check'?"),
        (
            ["check", "DIR", "--mask_treshold", "1"],
            "No such option '--mask_treshold'. Did you mean '--mask_threshold'?",
        ),
        (["prepare", "labelme", "SRC", "DST", "--link"], "prepare labelme does not use it"),
        (["prepare", "glas", "SRC", "DST", "--class_names", "a,b"], "prepare glas does not use it"),
        (["prepare", "synapse", "SRC", "DST", "--allow_empty"], "prepare synapse does not use it"),
        (["prepare", "glas", "SRC", "DST", "--allow_empty"], "prepare glas does not use it"),
        (["prepare", "lgg-mri", "SRC", "DST", "--hold_out", "val=1"], "prepare lgg-mri does not use it"),
        (["prepare", "cvc", "SRC", "DST"], "'cvc' is not one of 'kvasir-seg', "),
        (["convert", "A", "B"], "Missing option '--model'"),
        (["predict", "MODEL", str(Path(__file__).parent), ""], "'OUT': the path is empty"),
        (["train", str(Path(__file__).parent), "--output_dir", ""], "'--output_dir': the path is empty"),
        (["train", str(Path(__file__).parent), "--ckpt_dir="], "ckpt_dir must be a path, got ''"),
        (["train", str(Path(__file__).parent), "--encoder", "resnet51"], "one of resnet18, resnet34, "),
        (["score-volumes", "A", "B", "--output_dir", "C"], "Path 'A' does not exist"),
        (["score-volumes", __file__, __file__, "--output_dir", "C"], "give one of --source_labels and --class_names"),
    ],
)
def test_wrong_call_ends_with_one_line_and_code_2(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_commands_name_what_there_is():
    assert [*prepare._IMAGES] == [*LAYOUTS] and [*convert._MODELS] == [*RELEASED_MODELS]
    assert [*OPTIONS["encoder"].choices] == [*ENCODERS]


def test_help_errors_and_what_reads_files_alone_load_neither_torch_nor_monai(tmp_path, kvasir):
    data, model = tmp_path / "kvasir", bundle_dir() / "models" / "condseg_polyp.pt"
    calls = [[command, "--help"] for command in COMMANDS]
    calls += [["prepare", "kvasir-seg", str(kvasir), str(data), "--allow_missing"], ["check", str(data)]]
    calls += [["split", str(data), "--overwrite"], ["info", str(model)], ["predict", str(tmp_path / "no.pt"), ".", "x"]]
    calls += [["evaluate", "no.pt", str(data)], ["train", str(data), "--encoder", "resnet51"]]
    code = "import json, sys; from condseg_monai.cli.commands import main; "
    code += "print(json.dumps([main(call) for call in json.loads(sys.argv[1])])); "
    code += "print(json.dumps(sorted({'torch', 'monai'} & sys.modules.keys())))"
    done = subprocess.run([sys.executable, "-c", code, json.dumps(calls)], capture_output=True, text=True, cwd=tmp_path)
    *_, codes, modules = done.stdout.splitlines()
    assert json.loads(codes)[len(COMMANDS) :] == [0, 0, 0, 0, 1, 1, 2], done.stderr
    assert json.loads(modules) == []


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "split", "check"])
def test_command_without_arguments_names_the_first(command, capsys):
    assert main([command]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: Missing argument '")


def test_error_is_the_last_line_and_its_traceback_comes_before_with_debug(tmp_path, capsys):
    assert main(["check", str(tmp_path / "no"), "--debug"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "Traceback (most recent call last):" and error[-1] == f"error: {tmp_path / 'no'} does not exist"


def test_termination_is_one_sentence_and_code_143(monkeypatch, tmp_path, capsys):
    def terminate(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("condseg_monai.cli.predict.run", terminate)
    assert main(["predict", "condseg_polyp", str(tmp_path), str(tmp_path / "out")]) == 143
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "stopped by SIGTERM: the same command continues; what is done is kept"
    assert signal.getsignal(signal.SIGTERM) is before


def test_termination_of_a_preparation_leaves_nothing(monkeypatch, tmp_path, capsys):
    def terminate(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    for name in ("ct", "label"):
        write_nifti(tmp_path / "src" / f"{name}.nii", phantom()[0], AFFINE)
    monkeypatch.setattr("condseg_monai.data.prepare.synapse._write_case", terminate)
    words = ["prepare", "synapse", str(tmp_path / "src"), str(tmp_path / "out")]
    assert main([*words, "--source_labels", "btcv"]) == 143
    assert capsys.readouterr().err.strip() == "stopped by SIGTERM: nothing was written"
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_interruption_is_one_sentence_and_code_130(monkeypatch, tmp_path, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("condseg_monai.data.lists.pairing.folder_problem", interrupt)
    assert main(["check", str(tmp_path)]) == 130
    assert capsys.readouterr().err.strip() == "stopped by Ctrl-C"


def test_help_and_wrong_calls_load_neither_torch_nor_monai():
    code = (
        "import resource, sys; from condseg_monai.cli.commands import main\n"
        "codes = [main(a) for a in (['--help'], ['--version'], ['check', '--jsn'], ['chek'], ['compare', '--help'])]\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(codes, {'torch', 'monai', 'numpy'} & {*sys.modules}, used.ru_utime + used.ru_stime < 0.5)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[0, 0, 2, 2, 0] set() True"


def test_shell_completion_is_clicks_own(monkeypatch, capsys):
    monkeypatch.setenv("_CONDSEG_COMPLETE", "bash_source")
    with pytest.raises(SystemExit, match="0"):
        main([])
    assert "_condseg_completion" in capsys.readouterr().out


def test_every_command_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
    assert all(re.search(rf"^\| `condseg {command}[ `]", text, flags=re.M) for command in COMMANDS)


def test_names_that_are_not_text_are_printed_all_the_same(tmp_path, monkeypatch):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "caf\udce9.png").write_bytes(b"broken")
    strict = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", strict)
    assert main(["check", str(tmp_path)]) == 1
    assert rb"caf\udce9.png: not a BMP" in strict.buffer.getvalue()


@pytest.mark.parametrize(
    "words", [["--resume", "DIR"], ["DIR", "--resume"], ["--resume", "TRUE", "DIR"], ["--resume=yes", "DIR"]]
)
def test_a_flag_takes_no_argument_of_the_command(words, tmp_path, monkeypatch, capsys):
    given = {}
    monkeypatch.setattr("condseg_monai.cli.train._check_options", lambda _, options: given.update(options) or 1 / 0)
    words = [str(tmp_path) if word == "DIR" else word for word in words]
    assert main(["train", *words, "--epochs", "3"]) == 1  # an option besides: else there would be no run to continue
    assert given["resume"] is True and given["dataset_dir"] == str(tmp_path)
    assert main(["train", "--anti_aliasing", "null", str(tmp_path)]) == 1 and given["anti_aliasing"] is None
