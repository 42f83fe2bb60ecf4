"""Layers of the package: imports go down only, and no module has the name of a function."""

import ast
from pathlib import Path

import condseg_monai

PACKAGE = Path(condseg_monai.__file__).parent
LAYERS = ["version", "utils", "networks", "losses", "metrics", "data", "training", "inference", "reports"]
LAYERS += ["segmenter", "serve", "cli"]


def test_imports_go_down_only():
    for file in PACKAGE.rglob("*.py"):
        layer = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if layer in ("__init__", "__main__"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                package, _, rest = name.partition(".")
                if package == "condseg_monai":
                    imported = rest.split(".")[0]
                    assert imported in LAYERS, f"{file}: import from a subpackage, not from condseg_monai"
                    assert LAYERS.index(imported) <= LAYERS.index(layer), f"{file} imports {name}, of a higher layer"


def test_no_module_shares_its_name_with_a_function():
    files = [file for file in PACKAGE.rglob("*.py") if file.stem != "__init__"]
    functions = {
        node.name
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert {file.stem for file in files} & functions == set()
