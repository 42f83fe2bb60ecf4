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


def test_a_name_imports_its_own_module_alone():
    code = "import json, sys; from condseg_monai import ModelCard, __version__; print(json.dumps([*sys.modules]))"
    assert {"torch", "monai", "condseg_monai.losses"} & {*_run(code)} == set()


@pytest.mark.slow
def test_names_leave_out_what_only_some_runs_need():
    code = "import json, sys; from condseg_monai import *; print(json.dumps([*sys.modules]))"
    assert {"highdicom", "kornia"} & {*_run(code)} == set()


def test_every_public_name_is_listed_as_public_where_it_is_defined():
    for name in set(condseg_monai.__all__) - {"__version__"}:
        value = getattr(condseg_monai, name)
        assert name in dir(condseg_monai)
        if hasattr(value, "__module__"):
            assert name in sys.modules[value.__module__].__all__


def test_absent_names_are_an_attribute_error():
    with pytest.raises(AttributeError, match="ConDSegg"):
        _ = condseg_monai.ConDSegg
    with pytest.raises(ImportError, match="ConDSegg"):
        from condseg_monai import ConDSegg  # noqa: F401
