"""Shell scripts: they parse, and setup names what is missing before it starts anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")

# Answers setup's questions as a Python 3.11 would; `venv` makes a copy of itself, and pip notes its arguments.
PYTHON = f"""#!{BASH}
case "$*" in
    *version_info*) echo "(3, 11)" ;;
    "-m venv "*) mkdir -p "${{@: -1}}/bin" && cp "$0" "${{@: -1}}/bin/python" ;;
    "-m pip "*) echo "$@" >>"$CALLS"; "{shutil.which("sleep")}" "${{PIP_SECONDS:-0}}"; exit "${{PIP_STATUS:-0}}" ;;
esac
"""


class Machine:
    """A made-up machine: a copy of setup, and a PATH with a few tools and what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.calls = folder / "repository", folder / "bin", folder / "calls"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("scripts/setup", "setup.cfg", "pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, self.root / name)
        for tool in ("cat", "cmp", "cp", "dirname", "mkdir", "rm", "sleep"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)

    def has(self, name: str, text: str) -> None:
        """Put a program on the PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "CALLS": str(self.calls), **environment}
        command = [str(BASH), str(self.root / "scripts" / "setup"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def installed(self) -> list[str]:
        """What pip was asked to install, in order: itself, or an extra."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [re.split(r"[ \[]", line)[-1] for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", ["scripts/setup", "scripts/demo", "scripts/test", "scripts/gpu_check", ".ci/run"])
def test_script_parses_and_is_executable(script: str):
    assert os.access(REPOSITORY / script, os.X_OK)
    subprocess.run([str(BASH), "-n", str(REPOSITORY / script)], check=True)


def test_setup_installs_once_and_anew_when_something_changed(machine: Machine):
    machine.has("python3", PYTHON)
    assert machine.setup().returncode == machine.setup().returncode == 0
    assert machine.installed() == ["pip", "synapse]"]
    assert machine.setup("--dev").returncode == machine.setup().returncode == 0  # dev holds the rest
    assert machine.installed() == ["pip", "synapse]", "pip", "dev]"]
    (machine.root / "constraints.txt").write_text("torch==9\n")
    assert machine.setup().returncode == 0
    assert machine.installed() == ["pip", "synapse]", "pip", "dev]", "pip", "synapse]"]


def test_setup_does_with_the_pip_there_is(machine: Machine):
    machine.has("python3", PYTHON.replace('"-m pip "*', '*" pip") exit 1 ;;\n    "-m pip "*'))
    result = machine.setup()
    assert result.returncode == 0 and machine.installed() == ["synapse]"]


def test_setup_says_that_a_long_installation_goes_on(machine: Machine):
    machine.has("python3", PYTHON)
    (machine.bin / "sleep").unlink()
    machine.has("sleep", f"#!{BASH}\nexec {shutil.which('sleep')} 0.1\n")  # in place of some seconds
    result = machine.setup(PIP_SECONDS="1")
    assert result.returncode == 0 and result.stdout.count("setup: installing, ") >= 3
    assert result.stdout.splitlines()[-1].startswith("setup: ready")


@pytest.mark.parametrize(
    ("python", "environment", "arguments", "message"),
    [
        (None, {}, [], "python3 is not Python 3.10 or newer"),
        (f"#!{BASH}\nexit 1\n", {}, [], "python3 is not Python 3.10 or newer. Name one: PYTHON="),
        (PYTHON, {"PYTHON": "/nowhere/python"}, [], "/nowhere/python is not Python 3.10 or newer"),
        (PYTHON.replace("mkdir -p", "false"), {}, [], "apt-get install python3-venv"),
        (PYTHON, {"PIP_STATUS": "1"}, [], "pip failed (see above)"),
        (PYTHON, {}, ["--develop"], "usage: scripts/setup [--dev]"),
    ],
)
def test_setup_names_what_is_missing(machine: Machine, python, environment, arguments, message):
    if python is not None:
        machine.has("python3", python)
    result = machine.setup(*arguments, **environment)
    assert result.returncode == 1
    assert message in result.stderr
    assert machine.setup(*arguments, **environment).returncode == 1  # no stamp is left behind


def test_script_beside_a_clone_of_the_package_s_name_imports_the_package(tmp_path: Path):
    clone, script, built = tmp_path / "condseg_monai", tmp_path / "script.py", tmp_path / "built"
    (clone / "condseg_monai").mkdir(parents=True)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "condseg_monai/version.py"):
        shutil.copy(REPOSITORY / name, clone / name)
    (clone / "condseg_monai" / "__init__.py").touch()
    build = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(built)], cwd=clone, check=True, capture_output=True)
    site = built / "site-packages"
    shutil.unpack_archive(next(built.glob("*.whl")), site, "zip")
    script.write_text(
        f"import site\nsite.addsitedir({str(site)!r})\nimport condseg_monai\nprint(condseg_monai.__file__)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # -S: without the project's own editable install
    said = subprocess.run(
        [sys.executable, "-S", str(script)], env=environment, check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == str(clone / "condseg_monai" / "__init__.py")
