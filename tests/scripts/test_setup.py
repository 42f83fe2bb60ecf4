"""The shell scripts: that they parse, and that setup says what is missing before it starts anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHELL_SCRIPTS = ("scripts/setup", "scripts/demo", "scripts/test", ".ci/run")
BASH = shutil.which("bash")
TOOLS = ("awk", "cat", "cut", "dirname", "grep", "rm", "sed", "sort", "tail", "tee")

pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


class Machine:
    """A made-up machine: a copy of the scripts, and a PATH with a few tools and what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.bin = folder / "repository", folder / "bin"
        (self.repository / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(REPOSITORY / "scripts" / "setup", self.repository / "scripts" / "setup")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.has("df", 'echo header; echo "/dev/disk 1 1 99999999 1% /"')

    def has(self, name: str, body: str) -> None:
        """Put a program on the PATH."""
        path = self.bin / name
        path.write_text(f"#!{BASH}\n{body}\n")
        path.chmod(0o755)

    def has_python(self, name: str, *, minor: int, venv: bool = True) -> None:
        """Put something on the PATH that answers setup's questions as a Python 3.``minor`` would."""
        answers = f"""
            case "$*" in
                *version_info*) exit {int(minor < 10)} ;;
                *python_version*) echo 3.{minor}.0 ;;
                *ensurepip*) exit {int(not venv)} ;;
                "-m venv "*) echo made a venv; exit 1 ;;
                *) exit 1 ;;
            esac"""
        self.has(name, answers)

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(BASH), str(self.repository / "scripts" / "setup"), *arguments]
        environment = {"PATH": str(self.bin), "HOME": os.environ.get("HOME", "/"), **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_script_parses_and_is_executable(script: str):
    path = REPOSITORY / script
    assert os.access(path, os.X_OK)
    subprocess.run([str(BASH), "-n", str(path)], check=True)


def test_setup_without_python_says_so(machine: Machine):
    result = machine.setup()
    assert result.returncode == 1
    assert "no Python >= 3.10 found on PATH" in result.stderr


def test_setup_passes_over_a_python_that_is_too_old(machine: Machine):
    machine.has_python("python3", minor=9)
    assert "no Python >= 3.10" in machine.setup().stderr
    machine.has_python("python3.12", minor=12)
    assert "with Python 3.12.0" in machine.setup().stdout


def test_setup_names_a_given_python_that_does_not_do(machine: Machine):
    machine.has_python("python3", minor=12)
    machine.has_python("old", minor=9)
    result = machine.setup(PYTHON=str(machine.bin / "old"))
    assert result.returncode == 1
    assert f"PYTHON={machine.bin / 'old'} does not run or is older" in result.stderr


def test_setup_without_venv_module_says_how_to_get_it(machine: Machine):
    machine.has_python("python3", minor=11, venv=False)
    result = machine.setup()
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert not (machine.repository / ".venv").exists()


def test_setup_without_disk_says_how_much_is_needed(machine: Machine):
    machine.has_python("python3", minor=11)
    machine.has("df", 'echo header; echo "/dev/disk 9 9 204800 99% /"')
    result = machine.setup()
    assert result.returncode == 1
    assert "200 MiB are free" in result.stderr
    assert "needs 3072 MiB" in result.stderr
    assert "made a venv" not in result.stdout


def test_setup_shows_progress_as_it_comes(machine: Machine):
    """The download's line is there while pip still runs: it waits for a file that is made when the line has come."""
    seen = machine.repository / "seen"
    machine.has("mkdir", f'exec {shutil.which("mkdir")} "$@"')
    machine.has("cp", f'exec {shutil.which("cp")} "$@"')
    machine.has("sleep", f'exec {shutil.which("sleep")} "$@"')
    body = f"""
        case "$*" in
            "-m venv "*) mkdir -p "${{@: -1}}/bin" && cp "$0" "${{@: -1}}/bin/python" ;;
            "-m pip install"*)
                echo "  Downloading torch-9.whl (104.0 MB)"
                for i in 1 2 3 4 5 6 7 8 9 10; do [[ -e {seen} ]] && exit 3; sleep 1; done
                exit 4 ;;
            *python_version*) echo 3.11.0 ;;
        esac"""
    machine.has("python3", body)
    command = [str(BASH), str(machine.repository / "scripts" / "setup")]
    environment = {"PATH": str(machine.bin), "HOME": "/"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert any("Downloading torch-9.whl" in line for line in process.stdout)
        seen.touch()
        assert "pip failed with status 3" in process.stderr.read()


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


def test_setup_refuses_unknown_arguments(machine: Machine):
    result = machine.setup("--develop")
    assert result.returncode == 1
    assert "usage: scripts/setup [--dev]" in result.stderr
