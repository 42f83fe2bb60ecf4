"""scripts/sbom lists the packages of an environment."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

SBOM = Path(__file__).resolve().parents[2] / "scripts" / "sbom"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_installed_package_is_listed_with_its_version(tmp_path, monkeypatch):
    """It needs a package registry, as scripts/setup does."""
    monkeypatch.setenv("PYTHON", sys.executable)
    subprocess.run([SBOM, str(tmp_path / "sbom.json")], check=True)
    content = json.loads((tmp_path / "sbom.json").read_text())
    listed = {(item["name"].lower(), item["version"]) for item in content["components"]}
    assert content["bomFormat"] == "CycloneDX"
    for name in ("torch", "monai", "numpy", "nibabel"):
        assert (name, metadata.version(name)) in listed


def test_other_words_are_a_wrong_call(tmp_path):
    for words in ([], [str(tmp_path / "sbom.json"), "--other"]):
        result = subprocess.run([SBOM, *words], capture_output=True, text=True)
        assert result.returncode == 2 and "usage: scripts/sbom FILE" in result.stderr


def test_python_without_pip_is_named(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    for python in (tmp_path / "absent", tmp_path / "venv" / "bin" / "python"):
        monkeypatch.setenv("PYTHON", str(python))
        result = subprocess.run([SBOM, str(tmp_path / "sbom.json")], capture_output=True, text=True)
        said = f"sbom: {python} is no Python with pip: run scripts/setup, or name another by PYTHON="
        assert result.returncode == 1 and result.stderr.splitlines() == [said]
