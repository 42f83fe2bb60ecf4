"""Examples in the losses' docstrings run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from condseg_monai import losses

MODULES = [info.name for info in pkgutil.iter_modules(losses.__path__) if not info.name.startswith("_")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_and_every_public_function_has_one(name):
    module = importlib.import_module(f"condseg_monai.losses.{name}")
    assert doctest.testmod(module).failed == 0
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    functions = {name for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    assert functions <= {test.name.rsplit(".", 1)[-1] for test in tests if test.examples}
