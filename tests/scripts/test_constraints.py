"""constraints.txt, what is tested, against setup.cfg, what is allowed, and the bundle's metadata, what is claimed."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def requirements_in_setup_cfg() -> list[Requirement]:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [requirement for requirement in requirements if requirement.name != "condseg_monai"]


def pins_for(python: str) -> dict[str, list[str]]:
    """Pinned versions by package, as pip on this Python reads the file."""
    pins: dict[str, list[str]] = {}
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            pins.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    return pins


@pytest.mark.parametrize("python", PYTHONS)
def test_no_package_is_pinned_twice(python: str):
    assert {name: versions for name, versions in pins_for(python).items() if len(versions) > 1} == {}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", requirements_in_setup_cfg(), ids=str)
def test_every_dependency_is_pinned_within_its_range(python: str, requirement: Requirement):
    (version,) = pins_for(python)[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_dependencies_leave_out_what_is_not_needed():
    names = {canonicalize_name(requirement.name) for requirement in requirements_in_setup_cfg()} | set(pins_for("3.11"))
    assert names.isdisjoint({"torchvision", "timm"})


def test_metadata_of_the_bundle_names_the_tested_versions():
    metadata = json.loads((REPOSITORY / "bundle" / "configs" / "metadata.json").read_text(encoding="utf-8"))
    claimed = {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
        **metadata["required_packages_version"],
    }
    pins = pins_for("3.11")
    assert {name: [version] for name, version in claimed.items()} == {name: pins[name] for name in claimed}
