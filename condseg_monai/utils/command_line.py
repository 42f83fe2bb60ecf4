"""Reject unknown options on the command line, which MONAI ignores silently."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from condseg_monai.utils.options import OPTIONS

__all__ = ["check_command_line", "unknown_options"]


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuse ``--name value`` of ``python -m monai.bundle`` where no config has or reads the name.

    Options of other configs of the bundle pass, so that one list of options does for training and inference.

    Args:
        argv: program and arguments; None for this process's. Another program's are not looked at.

    Raises:
        ValueError: naming them, each with the option that it looks like.
    """
    program, *words = sys.argv if argv is None else argv
    if Path(program).parts[-3:] != ("monai", "bundle", "__main__.py"):
        return
    import monai.bundle  # takes seconds, and the command line does without

    given = dict(_options_of(words))
    given = {**_load(given.get("args_file")), **given}
    config = _load(given.get("config_file"))
    known = {*OPTIONS, *config, *re.findall(r"[@%](\w+)", str(config)), "_meta_"}
    for command in (monai.bundle.run, monai.bundle.run_workflow, monai.bundle.ConfigWorkflow):
        known |= {*inspect.signature(command).parameters}
    names = [re.split("#|::", name.lstrip("+"))[0] for name in given]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{unknown_options(unknown, OPTIONS)}; docs/README.md of the bundle lists all options")


def unknown_options(unknown: Iterable[str], known: Collection[str]) -> str:
    """Say which names are no options, each with the option that it looks like, if there is one.

    Args:
        unknown: names that are no options.
        known: names that are.
    """
    names = []
    for name in unknown:
        like = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
        names.append(f"{name} (did you mean {like[0]}?)" if like else name)
    return f"no such option: {', '.join(names)}"


def _options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each ``--name value`` and ``--name=value``, as Fire reads them."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if match := re.match(r"--?([+A-Za-z_][^=]*)(?:=(.*))?$", word, flags=re.DOTALL):
            name, value = match.groups()
            yield name.replace("-", "_"), following if value is None else value


def _load(files: Any) -> dict[str, Any]:
    from monai.bundle import ConfigParser

    if files is None:
        return {}
    with suppress(ValueError, SyntaxError):  # else it is one file, or several with commas
        files = ast.literal_eval(files)
    return dict(ConfigParser.load_config_files(files))
