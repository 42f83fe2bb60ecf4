from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

from condseg_monai import losses

MODULES = [info.name for info in pkgutil.iter_modules(losses.__path__) if not info.name.startswith("_")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_and_every_public_name_has_one(name):
    module = importlib.import_module(f"condseg_monai.losses.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0
    examples = {
        test.name.rsplit(".", 1)[-1] for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples
    }
    assert set(module.__all__) <= examples


def test_package_exports_every_public_name_but_the_released_ones():
    expected = set()
    for name in set(MODULES) - {"released"}:
        expected |= set(importlib.import_module(f"condseg_monai.losses.{name}").__all__)
    assert set(losses.__all__) == expected
    assert all(inspect.isclass(getattr(losses, name)) or inspect.isfunction(getattr(losses, name)) for name in expected)
