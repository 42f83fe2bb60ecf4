import json
import subprocess
import sys

import pytest

import condseg_monai


def _run(code):
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def test_import_loads_neither_torch_nor_monai():
    modules = "condseg_monai, condseg_monai.utils, condseg_monai.cli, condseg_monai.utils.files"
    assert (
        _run(f"import json, sys, {modules}; print(json.dumps(sorted({{'torch', 'monai'}} & sys.modules.keys())))") == []
    )


def test_names_leave_out_what_only_some_runs_need():
    code = "import json, sys; from condseg_monai import *; print(json.dumps([*sys.modules]))"
    assert {"highdicom", "kornia"} & {*_run(code)} == set()


def test_every_public_name_of_the_subpackages_is_at_the_top():
    packages = [getattr(condseg_monai, name) for name in ("networks", "losses", "data", "training", "utils", "reports")]
    for package in packages:
        for name in package.__all__:
            assert getattr(condseg_monai, name) is getattr(package, name)
            assert name in condseg_monai.__all__
            assert name in dir(condseg_monai)


def test_absent_names_are_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'ConDSegg'"):
        _ = condseg_monai.ConDSegg
    with pytest.raises(ImportError, match="ConDSegg"):
        from condseg_monai import ConDSegg  # noqa: F401
