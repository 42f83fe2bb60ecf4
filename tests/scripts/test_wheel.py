"""The wheel: what is in it, and that it works anywhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from condseg_monai.utils.bundle_path import bundle_dir, copy_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
BUILT_FROM = ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in (*BUILT_FROM, "constraints.txt"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("condseg_monai", "bundle"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "bundle" / "models" / "model.pt").write_bytes(b"of the user")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", source / "wheels", source], check=True)
    (file,) = (source / "wheels").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", folder, wheel], check=True)
    return folder


def _condseg(installed, cwd, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, installed / "bin" / "condseg"]
    return subprocess.run([*program, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_wheel_has_the_bundle_and_nothing_of_the_user(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("condseg_monai/bundle/")}
    configs = {file.name for file in (REPOSITORY / "bundle" / "configs").iterdir()}
    assert {f"condseg_monai/bundle/configs/{name}" for name in configs} < names
    assert {"condseg_monai/bundle/LICENSE", "condseg_monai/bundle/docs/README.md"} < names
    assert not any(name.endswith(".pt") or "config_source" in name for name in names)


def test_installed_program_writes_its_bundle_out(installed, tmp_path):
    result = _condseg(installed, tmp_path, "bundle", "mine")
    assert result.returncode == 0, result.stderr
    files = {file.relative_to(tmp_path / "mine") for file in (tmp_path / "mine").rglob("*") if file.is_file()}
    copy_bundle(bundle_dir(), tmp_path / "expected")
    expected = {file.relative_to(tmp_path / "expected") for file in (tmp_path / "expected").rglob("*")}
    assert files == {file for file in expected if (tmp_path / "expected" / file).is_file()}
    assert _condseg(installed, tmp_path, "bundle", "mine").returncode == 1
