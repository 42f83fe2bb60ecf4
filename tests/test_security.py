"""What docs/security.md says that the package never does."""

from __future__ import annotations

import ast
import json
import pickle
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from condseg_monai import Segmenter, make_synthetic_dataset
from condseg_monai.cli.commands import main
from condseg_monai.inference.packed_bundle import pack_bundle
from tests.bundle.models import save_model

PACKAGE = Path(__file__).parents[1] / "condseg_monai"
CALLS = [
    (path.relative_to(PACKAGE).as_posix(), ast.unparse(node.func), {key.arg: key.value for key in node.keywords})
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]

RUNS = "$__import__('pathlib').Path('ran').touch()"
"""A file's name, and Python that leaves a file in the working folder if a config has it evaluated."""


def test_no_file_is_loaded_by_pickle():
    loads = [call for call in CALLS if call[1] in ("torch.load", "np.load", "torch.hub.load_state_dict_from_url")]
    assert len(loads) >= 4
    for path, name, keywords in loads:
        safe, value = ("allow_pickle", False) if name == "np.load" else ("weights_only", True)
        assert ast.literal_eval(keywords[safe]) is value, f"{path}: {name}"
    imports = [path.name for path in PACKAGE.rglob("*.py") if "import pickle" in path.read_text(encoding="utf-8")]
    assert imports == []


def test_nothing_is_evaluated_by_the_package_itself():
    assert [call[:2] for call in CALLS if call[1] in ("eval", "exec", "os.system", "os.popen")] == []


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_checkpoint_with_code_in_it_is_refused_and_does_not_run(tmp_path, capsys):
    run = save_model(tmp_path / "run", "unet")
    with (run / "models" / "model.pt").open("wb") as stream:
        pickle.dump(Payload(tmp_path / "ran"), stream)
    (run / "models" / "model.json").unlink()
    torch.save(Payload(tmp_path / "ran"), tmp_path / "zip.pt")
    assert main(["info", str(run)]) == 1
    for model in (run, tmp_path / "zip.pt"):
        assert main(["predict", str(model), str(tmp_path), str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))  # so that it would have run
    assert (tmp_path / "ran").exists()


@pytest.mark.slow
def test_configs_in_a_model_folder_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_synthetic_dataset("data", num_train=2, num_val=1, num_test=2, image_size=32)
    bundle = pack_bundle(save_model(tmp_path / "run", "unet"), tmp_path / "bundle")
    for config in (bundle / "configs").glob("*.json"):
        config.write_text(json.dumps({"imports": [RUNS], "network_def": RUNS, "initialize": RUNS, "run": RUNS}))
    assert main(["info", "bundle"]) == 0
    assert main(["predict", "bundle", "data/images", "out", "--device", "cpu", "--num_workers", "0"]) == 0
    assert main(["evaluate", "bundle", "data", "--device", "cpu", "--num_workers", "0"]) == 0
    assert main(["export", "bundle", "model.ts"]) == 0
    assert main(["pack", "bundle", "again.zip"]) == 0
    Segmenter("bundle", device="cpu").predict(np.zeros((40, 48, 3), np.uint8))
    assert not Path("ran").exists()
    parser = ConfigParser(json.loads((bundle / "configs" / "inference.json").read_text()))
    parser.get_parsed_content("run")  # so that it would have run
    assert Path("ran").exists()


def test_no_name_of_a_data_folder_is_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = RUNS
    make_synthetic_dataset(name, num_train=2, num_val=1, num_test=1, image_size=32)
    data = tmp_path / name
    for path in [*data.rglob("*.png")]:
        path.rename(path.with_name(f"{name} {path.name}"))
    for path in data.glob("*.txt"):
        path.write_text("".join(f"{name} {line}\n" for line in path.read_text().splitlines()))
    options = ["--device", "cpu", "--num_workers", "0"]
    tiny = ["--epochs", "1", "--image_size", "32", "--batch_size", "2", "--tracker", "none", "--decoder_channels", "8"]
    assert main(["check", name]) == 0
    assert main(["train", name, "--method", "unet", "--output_dir", f"{name}run", *tiny, *options]) == 0
    assert main(["evaluate", f"{name}run", name, *options]) == 0
    assert main(["predict", f"{name}run", f"{name}/images", f"{name}out", *options]) == 0
    assert {path.name for path in Path(f"{name}out").glob("*.png")} == {
        path.name for path in (data / "images").iterdir()
    }
    assert not Path("ran").exists()


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_use_of_a_model_asks_no_network(no_network, tmp_path):
    run = save_model(tmp_path / "run", "condseg")
    assert main(["info", str(run)]) == 0
    assert main(["pack", str(run), str(tmp_path / "packed"), "--no_torchscript"]) == 0
    Segmenter(run, device="cpu").predict(np.zeros((40, 48, 3), np.uint8))


def test_every_test_that_the_page_names_is_there():
    root = PACKAGE.parent
    page = (root / "docs" / "security.md").read_text(encoding="utf-8")
    named, file = 0, ""
    for word in re.findall(r"`((?:tests/[\w/]+\.py)|test_\w+)`", page):
        if word.startswith("tests/"):
            file = (root / word).read_text(encoding="utf-8")
        else:
            assert f"def {word}(" in file, word
            named += 1
    assert named >= 7
