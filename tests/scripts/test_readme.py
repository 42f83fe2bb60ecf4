"""README: its commands, links and example."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from demo import parse
from draw_network import TARGET, draw_network

from condseg_monai.cli.commands import condseg_program
from condseg_monai.cli.workflows import option_names

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.S)
COMMANDS = [line.split("  #")[0].strip() for language, text in BLOCKS if not language for line in text.splitlines()]
CONDSEG = [line for line in COMMANDS if line.startswith("condseg ")]
BUNDLE_DOCS = (REPOSITORY / "bundle" / "docs" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
BUNDLE_RUNS = re.findall(r"-m monai\.bundle (?:run|ckpt_export) .*", BUNDLE_DOCS)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_linked_file_exists(link: str):
    assert (REPOSITORY / link).exists()


def test_pictures_are_small():
    for path in (REPOSITORY / "docs" / "images").iterdir():
        assert path.stat().st_size < 200 * 1024, path.name


def test_figure_of_the_network_is_the_one_that_is_drawn():
    assert TARGET.read_text(encoding="utf-8") == draw_network()


def test_python_example_runs(capsys: pytest.CaptureFixture[str]):
    example = [text for language, text in BLOCKS if language == "python"][-1]  # the first needs a trained model
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert "complementary" in capsys.readouterr().out
    assert names["mask"].shape == (2, 1, 96, 96)
    assert names["regions"].shape == (2, 3, 96, 96)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("scripts/demo --")])
def test_demo_commands_are_understood(command: str):
    assert parse(shlex.split(command)[1:]).dataset_dir is not None


@pytest.mark.parametrize(
    "command", [*(line for line in COMMANDS if line.startswith("python -m monai.bundle run")), *BUNDLE_RUNS]
)
def test_bundle_commands_name_files_and_options_that_exist(command: str):
    words = shlex.split(command)
    config = words[words.index("--config_file") + 1]
    files = ast.literal_eval(config) if config.startswith("[") else [config]
    assert all((REPOSITORY / "bundle" / file).is_file() for file in files)
    options = {word.removeprefix("--") for word in words if word.startswith("--")} - {"config_file"}
    assert options <= option_names([Path(file).stem for file in files])


@pytest.mark.parametrize("command", CONDSEG)
def test_condseg_commands_have_the_options_that_they_show(command: str):
    _, name, *words = shlex.split(command)
    if name.startswith("-"):
        return
    found = condseg_program.commands[name]
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known
    required = [p for p in found.params if p.param_type_name == "argument" and p.required]
    assert sum(not word.startswith("--") for word in words) >= len(required)


def test_both_kinds_of_command_are_there():
    assert len(CONDSEG) >= 10
    assert sum(line.startswith("scripts/demo --") for line in COMMANDS) >= 1
    assert sum(line.startswith("python -m monai.bundle run") for line in COMMANDS) >= 4
