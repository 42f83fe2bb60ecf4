"""Build the documentation site: write the pages that come from code, run the notebook, then build strictly.

What is written into ``docs/`` is not committed: ``reference/api``, from the public names in
``condseg_monai/__init__.pyi`` and their docstrings, and ``tutorials/notebook.md``, the notebook with its outputs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
API = DOCS / "reference" / "api"
NOTEBOOK = DOCS / "tutorials" / "own_data.ipynb"
PUBLIC_NAME = re.compile(r"^from \.([\w.]+) import (\w+) as \2$", flags=re.M)


def public_names() -> dict[str, list[str]]:
    """The public names of the package by its parts, ``{"losses": ["condseg_monai.losses.condseg.ConDSegLoss"]}``."""
    stub = (REPOSITORY / "condseg_monai" / "__init__.pyi").read_text(encoding="utf-8")
    parts: dict[str, list[str]] = {}
    for module, name in PUBLIC_NAME.findall(stub):
        if module != "version":
            parts.setdefault(module.partition(".")[0], []).append(f"condseg_monai.{module}.{name}")
    return parts


def write_api() -> None:
    """Write a page for each part of the package, of directives that mkdocstrings fills with the docstrings."""
    API.mkdir(exist_ok=True)
    for part, names in public_names().items():
        title = f"# {part}\n\nEach name is imported from `condseg_monai`, and is where configs look for it.\n"
        (API / f"{part}.md").write_text(title + "".join(f"\n::: {name}\n" for name in names), encoding="utf-8")


def write_notebook() -> None:
    """Run the notebook and write it with its outputs as a page, pictures beside it."""
    import nbformat
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor, ExecutePreprocessor
    from nbconvert.writers import FilesWriter

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its cells call condseg
    ExecutePreprocessor(timeout=600, kernel_name="python3").preprocess(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # its log is for a terminal
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": "notebook_files"})
    FilesWriter(build_directory=str(NOTEBOOK.parent)).write(text, resources, notebook_name="notebook")


def build_site() -> int:
    """Build ``site/`` and return the exit code; a broken link or reference is an error."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    path = os.pathsep.join([str(REPOSITORY / "scripts"), os.environ.get("PYTHONPATH", "")])  # for griffe_docstrings
    return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": path}).returncode


def main() -> int:
    """Build the whole site."""
    write_api()
    write_notebook()
    return build_site()


if __name__ == "__main__":
    sys.exit(main())
