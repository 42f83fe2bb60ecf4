"""Options of the bundle's configs as options of a command: types, ranges and help from the table of options."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from condseg_monai.cli.program import Command
from condseg_monai.cli.workflows import read_configs
from condseg_monai.inference.model_files import shipped_models
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.utils.options import FLAG_WORDS, OPTION_GROUPS, OPTIONS, option_defaults, read_options

__all__ = [
    *("ConfigCommand", "config_defaults", "given_options", "mask_words", "option_words", "read_classes"),
    "with_config_options",
]

_STAGE1 = "stage1_"
_ENCLOSED = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]")  # brackets around it all, others within
_OTHER_SPELLINGS = {"class_names": ("--classes",)}
_Function = TypeVar("_Function", bound=Callable[..., Any])


class OptionValue(click.ParamType):
    """Value of an option of the configs.

    Args:
        option: its name in the table of options.
    """

    name = "value"

    def __init__(self, option: str) -> None:
        self.option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or fail naming what it can be."""
        option = OPTIONS[self.option]
        if option.kind in ("integer", "number", "numbers", "texts", "values"):
            value = _literal(value, names=option.kind == "texts")
        try:
            value = read_options(**{self.option: value})[self.option]
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self.option == "init_from" and value in shipped_models() and not Path(value).exists():
            value = shipped_models()[value]
        is_path = option.kind == "path" or (self.option == "encoder_weights" and value != "imagenet")
        return str(Path(value).absolute()) if is_path and value is not None else value

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The values there are, in help."""
        option = OPTIONS[self.option]
        null = "|null" * option.null
        if option.choices:
            return f"[{'|'.join(option.choices)}{null}]"
        kinds = {"flag": "BOOL", "integer": "INTEGER", "number": "NUMBER", "numbers": "NUMBER[,...]", "path": "PATH"}
        kinds |= {"texts": "A,B,...", "values": "N,N,...|[R,G,B],..."}
        return kinds.get(option.kind, "TEXT") + null


class ConfigOption(click.Option):
    """Option of the configs; a flag may stand without ``true``.

    Args:
        declarations: its name on the command line.
        option: its name in the table of options.
        **attributes: of any option.
    """

    def __init__(self, declarations: Sequence[str], option: str, **attributes: Any) -> None:
        if OPTIONS[option].kind == "flag":
            attributes |= {"is_flag": False, "flag_value": "true"}
        meaning = OPTIONS[option].meaning.replace("`", "")
        super().__init__(declarations, type=OptionValue(option), help=meaning, **attributes)
        self.group = next(group for group, options in OPTION_GROUPS.items() if option in options)


class ConfigCommand(Command):
    """Command whose help lists the options of the configs by group, below its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a flag takes the next word only if it is true, false, null or the like, and no argument."""
        flags = {name for param in self.params if getattr(param, "flag_value", None) == "true" for name in param.opts}
        for i, word in enumerate(args):
            following = args[i + 1] if i + 1 < len(args) else ""
            if word in flags and following.lower() not in {*FLAG_WORDS, "null"}:
                args[i] = f"{word}=true"
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "group", "options"), []).append(record)
        for group, records in groups.items():
            with formatter.section(group.capitalize()):
                formatter.write_dl(records)


def with_config_options(names: Collection[str], stage1: Collection[str] = ()) -> Callable[[_Function], _Function]:
    """Add options of the configs to a command.

    Args:
        names: of the options.
        stage1: those that can be given for stage 1 alone too, with ``stage1_`` in front.
    """

    def add(function: _Function) -> _Function:
        both = [name for name in OPTIONS if name in stage1 and _STAGE1 + name not in OPTIONS]
        for name in reversed(both):
            function = click.option(f"--{_STAGE1}{name}", cls=ConfigOption, option=name, hidden=True)(function)
        for name in reversed([name for name in OPTIONS if name in names]):
            spellings = [f"--{name}", *_OTHER_SPELLINGS.get(name, ())]
            function = click.option(*spellings, cls=ConfigOption, option=name)(function)
        return function

    return add


def given_options(ctx: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the options that were not given on the command line."""
    given = ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) is given}


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line, from which :class:`OptionValue` gets the same values again.

    Args:
        options: values by name, as a command gets them.

    Example:
        >>> option_words({"epochs": 3, "resume": True, "fold": None})
        ['--epochs=3', '--resume=true', '--fold=null']
    """
    return [f"--{name}={_word(value)}" for name, value in options.items()]


def mask_words(
    mask_threshold: float | None,
    mask_suffix: str | None,
    class_names: list[str] | None = None,
    class_values: list[Any] | None = None,
) -> list[str]:
    """The options that say what masks mean, as :func:`option_words` writes them; those that were not given left out."""
    given: dict[str, Any] = {"mask_threshold": mask_threshold, "mask_suffix": mask_suffix or None}
    given |= {"class_names": class_names, "class_values": class_values}
    return option_words({name: value for name, value in given.items() if value is not None})


def _word(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) and "," not in str(item) for item in value):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_classes(
    class_names: list[str] | None, class_values: list[Any] | None, mask_threshold: float | None
) -> dict[str, Any] | None:
    """The value of each class by its name, by the options of a command; None for binary masks."""
    from condseg_monai.data.images.mask_values import class_map

    if class_names is None and class_values is not None:
        raise ValueError("--class_values are those of --class_names: give the names too")
    if class_names and mask_threshold is not None:
        raise ValueError("--mask_threshold is of binary masks, and --class_names of several classes: leave one out")
    return None if class_names is None else class_map(class_names, class_values)


@cache
def config_defaults() -> dict[str, str]:
    """The default of every option, as the configs have it."""
    configs = dict(zip(names := _config_names(), read_configs(names), strict=True))
    return {name: option_defaults(name, configs).replace("`", "") for name in OPTIONS}


def _config_names() -> list[str]:
    files = (bundle_dir() / "configs").glob("*.json")
    return sorted(
        {file.stem for file in files} - {"metadata", "train"}, key=lambda name: (name != "train_stage2", name)
    )


def _literal(text: Any, names: bool) -> Any:
    """Numbers and lists as Python writes them, or with commas only; any other text as it is."""
    if not isinstance(text, str):
        return text
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text)
        if not names or not isinstance(value, (int, float)):
            return list(value) if isinstance(value, tuple) else value
    if not names or text.lower() == "null":
        return text
    enclosed = _ENCLOSED.fullmatch(text.strip())
    return [name.strip() for name in (enclosed[1] if enclosed else text).split(",")]
