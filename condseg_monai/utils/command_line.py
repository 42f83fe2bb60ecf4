"""Command line of ``python -m monai.bundle``: refuse unknown options, and texts that Fire or MONAI would change."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from condseg_monai.utils.options import OPTIONS, read_options

__all__ = ["check_command_line", "command_word", "config_value", "fire_word", "is_bundle_program", "unknown_options"]


def is_bundle_program(argv: Sequence[str] | None = None) -> bool:
    """Whether this process is ``python -m monai.bundle``."""
    program = (sys.argv if argv is None else argv)[0]
    return Path(program).parts[-3:] == ("monai", "bundle", "__main__.py")


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuse unknown options of ``python -m monai.bundle``, and values that would not arrive as they are.

    Args:
        argv: program and arguments; None for this process's. Another program's are not looked at.

    Raises:
        ValueError: naming the options: unknown ones with what they look like, others with a way to write the value.
    """
    words = (sys.argv if argv is None else argv)[1:]
    if not is_bundle_program(argv):
        return
    written = dict(_options_of(words))
    in_file = _load(written.get("args_file"))
    given = {**in_file, **written}
    files = given.get("config_file")
    config = _load(files)
    parts = [re.split("#|::", name.lstrip("+"))[:2] for name in given]
    names = [part[0] for part in parts]
    known = {*config, *re.findall(r"[@%](\w+)", str(config)), "_meta_", *_monai_names()}
    known -= set(config.get("unused_options", ()))
    if unknown := [name for name in names if name not in known]:
        words_of_files = ", ".join(Path(file).name for file in _files(files)) or "no config file"
        raise ValueError(
            f"{unknown_options(unknown, OPTIONS.keys() & known)}, in {words_of_files}; condseg options "
            "lists all, with the configs that have them"
        )
    block = config.get("options", {})
    if unknown := [part[1] for part in parts if part[0] == "options" and len(part) > 1 and part[1] not in block]:
        raise ValueError(f"options#{unknown[0]}: {unknown_options(unknown, block)}")
    device = str(given.get("device", "cpu")).strip("'\"")
    if not device.startswith(("$", "@")):
        read_options(device=device)  # configs look at the device before they read all options
    for name in in_file.keys() & OPTIONS.keys() - written.keys():
        if OPTIONS[name].kind in ("text", "texts", "path"):
            _check_value(name, in_file[name], written["args_file"])
    for name, word in written.items():
        if name in OPTIONS and OPTIONS[name].kind in ("text", "texts", "path"):
            _check_text(name, word)


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


def config_value(value: Any) -> Any:
    """Return what to write into a config so that MONAI hands the value on as it is.

    MONAI evaluates texts that begin with ``$``, ``@`` or ``%`` and replaces every ``#``. Such a text becomes an
    expression, a Python string with these characters escaped.

    Args:
        value: of an option: a text, a list of them, or anything else, which is returned as it is.

    Example:
        >>> print(config_value("set#2"))
        $"set\\x232"
    """
    if isinstance(value, (list, tuple)):
        return [config_value(item) for item in value]
    if not isinstance(value, str) or not re.search(r"^[$@%]|#|[@%]::", value):
        return value
    return '$"' + re.sub(r"[^\w/. -]", lambda match: _escaped(match[0]), value, flags=re.ASCII) + '"'


def command_word(value: Any) -> str:
    """Return a value as a word of a shell, from which a config gets the same value again.

    Args:
        value: of an option.

    Example:
        >>> print(command_word("2024_11_28"), command_word("a b"), command_word(None), command_word(3))
        '"2024_11_28"' 'a b' null 3
    """
    return "null" if value is None else fire_word(config_value(value))


def fire_word(value: Any) -> str:
    """Return a value as a word of a shell, from which Fire reads the same value again."""
    from fire.parser import DefaultParseValue

    is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if is_texts or (isinstance(value, str) and DefaultParseValue(value) != value):
        value = json.dumps(value, separators=(",", ":"))
    return shlex.quote(str(value))


def _check_value(name: str, value: Any, file: str) -> None:
    if config_value(value) != value and not _is_literal(value):
        raise ValueError(
            f"{name} {value!r} of {file} would not arrive as it is, since MONAI reads such texts as Python: write "
            f"{json.dumps(config_value(value))} there, or use the command condseg, which takes any text"
        )


def _check_text(name: str, word: str) -> None:
    from fire.parser import DefaultParseValue

    read: Any = DefaultParseValue(word)
    if OPTIONS[name].null and (read is None or word.lower() in ("null", "none", "$none")):
        return
    if OPTIONS[name].kind == "texts" and isinstance(read, (list, tuple)):
        read = list(read)
        intended: Any = read
    elif not isinstance(read, str) or (read != word and not _is_quoted(word)):
        intended = word
    else:
        intended = read
    if _is_literal(intended) or (intended == read and config_value(intended) == intended):
        return
    raise ValueError(
        f"{name} {intended!r} would not arrive as it is, since MONAI reads such texts as Python: write --{name} "
        f"{command_word(intended)}, or use the command condseg, which takes any text"
    )


def _is_literal(value: Any) -> bool:
    """Whether a value is an expression that is a text in quotes, as :func:`config_value` writes it, or null."""
    return isinstance(value, str) and (value == "$None" or (value.startswith("$") and _is_quoted(value[1:])))


def _is_quoted(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), str) and text[-1] == text[0]
    except (SyntaxError, ValueError):
        return False


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _monai_names() -> set[str]:
    import monai.bundle  # takes seconds, and the command line does without

    commands = (monai.bundle.run, monai.bundle.run_workflow, monai.bundle.ConfigWorkflow)
    return {name for command in commands for name in inspect.signature(command).parameters}


def _options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each ``--name value`` and ``--name=value``, as Fire reads them."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if match := re.match(r"--?([+A-Za-z_][^=]*)(?:=(.*))?$", word, flags=re.DOTALL):
            name, value = match.groups()
            yield name.replace("-", "_"), following if value is None else value


def _files(files: Any) -> list[str]:
    with suppress(ValueError, SyntaxError):  # else it is one file, or several with commas
        files = ast.literal_eval(files)
    if isinstance(files, str):
        return files.split(",")
    return [str(file) for file in files or ()]


def _load(files: Any) -> dict[str, Any]:
    from monai.bundle import ConfigParser

    return dict(ConfigParser.load_config_files(_files(files)))
