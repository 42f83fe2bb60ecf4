"""Extension of griffe, which reads docstrings for the documentation site: Sphinx's roles and examples as Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe
from build_docs import public_names

PATHS = {path.rpartition(".")[2]: path for paths in public_names().values() for path in paths}
ROLE = re.compile(r":\w+:`~?([\w.]+)`")
EXAMPLE = re.compile(r"^( *)Example::?$", flags=re.M)


class MarkdownDocstrings(griffe.Extension):
    """Write ``:class:`~condseg_monai.ConDSeg``` as a link to the name if it is public, else as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring:
            text = ROLE.sub(lambda found: _link(found[1], obj), obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", text)


def _link(target: str, obj: griffe.Object) -> str:
    name = target.rpartition(".")[2]
    path = PATHS.get(name)
    return f"[`{name}`][{path}]" if path and path != obj.path else f"`{name}`"
