"""constraints.txt, what is tested, against setup.cfg, what is allowed, and the bundle's metadata, what is claimed."""

from __future__ import annotations

import configparser
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def requirements_in_setup_cfg() -> list[Requirement]:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    requirements = [Requirement(line) for text in texts for line in lines_of(text)]
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


def test_pinned_versions_allow_each_other():
    """As far as they are installed here: a bound on NumPy in one of them would keep all of them from installing."""
    pins = {name: version for name, (version,) in pins_for(".".join(map(str, sys.version_info[:2]))).items()}
    asked = {}
    for name, version in pins.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if Version(found.version).public == version:  # torch: 2.13.0+cpu
            asked[name] = [Requirement(line) for line in found.requires or []]
    assert {"monai", "torch", "scipy"} <= asked.keys()
    refused = [
        f"{name} asks for {requirement}, pinned is {pins[canonicalize_name(requirement.name)]}"
        for name, requirements in asked.items()
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"), prereleases=True)
        and canonicalize_name(requirement.name) in pins
    ]
    assert refused == []


def test_every_other_implementation_of_the_scores_is_in_dev():
    """So that no comparison with one is skipped."""
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    extras = parser["options.extras_require"]
    assert "saliency" in extras["dev"] and "pysodmetrics" in extras["saliency"]
    assert {"scikit-learn", "medpy"} <= {requirement.name for requirement in map(Requirement, lines_of(extras["dev"]))}


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
    del claimed["condseg_monai"]  # this package itself
    pins = pins_for("3.11")
    assert {name: [version] for name, version in claimed.items()} == {name: pins[name] for name in claimed}
