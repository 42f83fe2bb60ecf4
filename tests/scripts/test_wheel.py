"""The wheel: what is in it, and that it works anywhere."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import pytest

from condseg_monai.utils.bundle_path import BUNDLE_FILES, bundle_dir, copy_bundle
from tests.bundle.models import save_model

REPOSITORY = Path(__file__).resolve().parents[2]
BUILT_FROM = ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE")
BUILT_FROM += ("constraints.txt",)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what the package is built from, and a checkpoint of the user in the bundle."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        shutil.copy(REPOSITORY / name, source)
    for name in ("condseg_monai", "bundle"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "bundle" / "models" / "model.pt").write_bytes(b"of the user")
    return source


@pytest.fixture(scope="module")
def wheel(source) -> Path:
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
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(installed), os.environ["PYTHONPATH"]]),
        "OMP_NUM_THREADS": "1",
    }
    program = [sys.executable, installed / "bin" / "condseg"]
    return subprocess.run([*program, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_wheel_has_the_bundle_and_nothing_of_the_user(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("condseg_monai/bundle/")}
    configs = {file.name for file in (REPOSITORY / "bundle" / "configs").iterdir()}
    assert {f"condseg_monai/bundle/configs/{name}" for name in configs} < names
    assert {"condseg_monai/bundle/LICENSE", "condseg_monai/bundle/docs/README.md"} < names
    assert not any("config_source" in name for name in names)
    shipped = {
        f"condseg_monai/bundle/models/{file.name}" for file in (REPOSITORY / "bundle/models").glob("condseg_*.pt")
    }
    assert {name for name in names if name.endswith(".pt")} == shipped and len(shipped) > 0


def test_installed_program_writes_its_bundle_out(installed, tmp_path):
    result = _condseg(installed, tmp_path, "bundle", "mine")
    assert result.returncode == 0, result.stderr
    files = {file.relative_to(tmp_path / "mine") for file in (tmp_path / "mine").rglob("*") if file.is_file()}
    copy_bundle(bundle_dir(), tmp_path / "expected")
    expected = {file.relative_to(tmp_path / "expected") for file in (tmp_path / "expected").rglob("*")}
    assert files == {file for file in expected if (tmp_path / "expected" / file).is_file()}
    assert _condseg(installed, tmp_path, "bundle", "mine").returncode == 1


def test_installed_program_segments_images_from_any_folder(installed, tiny_dataset, tmp_path):
    save_model(tmp_path)
    result = _condseg(installed, tmp_path, "predict", "models/model.pt", tiny_dataset / "images", "out")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 9
    assert str(installed / "condseg_monai" / "bundle" / "configs" / "inference.json") in result.stdout


def test_steps_of_the_dockerfile_install_a_program_that_serves(source, tmp_path):
    """The RUN lines, in a fresh environment that finds the dependencies in this one, so that nothing is downloaded."""
    steps = re.findall(r"^RUN (.*)$", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    assert len(steps) == 2 and steps[0].startswith("pip install ") and steps[1].startswith("condseg ")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True)  # old, in 3.11
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # pip reads 0 as: no isolated build, for which it would download setuptools
    environment = {**os.environ, "PATH": path, "PIP_NO_BUILD_ISOLATION": "0"}
    environment.pop("PYTHONPATH", None)
    for step in steps:
        result = subprocess.run(step, shell=True, cwd=source, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("condseg, version")
    bundle = subprocess.run(
        ["condseg", "bundle", "out"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "out: the bundle" in bundle.stdout and (tmp_path / "out" / "configs" / "inference.json").is_file()
    assert (packages / "condseg_monai" / "bundle").is_dir()
    words = ["condseg", "serve", "condseg_polyp", "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        port = service.stdout.readline().partition(" ")[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"page.js" in page.read()
        service.terminate()
    assert service.returncode == 143


def test_image_gets_what_the_package_is_built_from():
    kept = re.findall(r"^!(.*)$", (REPOSITORY / ".dockerignore").read_text(encoding="utf-8"), flags=re.M)
    assert {*BUILT_FROM, "condseg_monai", *(f"bundle/{name.removesuffix('/*')}" for name in BUNDLE_FILES)} == {*kept}
