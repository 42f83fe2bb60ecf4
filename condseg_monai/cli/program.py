"""What all commands share: the option ``--debug``, errors as one last line, exit codes."""

from __future__ import annotations

import difflib
import io
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from condseg_monai.cli.console import say
from condseg_monai.cli.logs import shown_log
from condseg_monai.inference.model_files import find_model
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.errors import error_text
from condseg_monai.utils.interruption import Terminated

__all__ = [
    *("LEARN_MORE", "Command", "PathValue", "print_use", "read_model", "run_program", "start_work", "warn_if_trivial"),
    "wrong_option",
]

LEARN_MORE = "train longer, from ImageNet weights (condseg encoders), with --preset recommended or --class_balance 0.5"
FAILED, WRONG_CALL, INTERRUPTED, TERMINATED = 1, 2, 130, 143


class Command(click.Command):
    """Command with the option ``--debug``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, callback=_keep_debug, help="show where an error arose"
            )
        )


class PathValue(click.Path):
    """Path of a file or folder; an empty text, which ``Path`` takes for the current folder, is refused.

    Args:
        **attributes: of :class:`click.Path`.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(path_type=Path, **attributes)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail if there is none."""
        if value == "":
            self.fail("the path is empty; . is the current folder", param, ctx)
        return super().convert(value, param, ctx)


def start_work(context: click.Context, if_stopped: str) -> None:
    """Say that work begins that takes long; call it before PyTorch and MONAI are imported.

    Args:
        context: of the command.
        if_stopped: how to continue, said after Ctrl-C and SIGTERM.
    """
    context.find_root().obj["if_stopped"] = f": {if_stopped}"
    if "torch" not in sys.modules:
        click.echo("loading PyTorch and MONAI", err=True)


def read_model(model: str, other: Path | None = None) -> tuple[Path, ModelCard | None]:
    """Return the checkpoint that is meant, and its model card if it has one.

    Args:
        model: as :func:`~condseg_monai.inference.model_files.find_model` takes it.
        other: the argument behind it; an error says so if that is the model.
    """
    try:
        checkpoint = find_model(model).absolute()
    except (OSError, ValueError):
        if other is not None and _is_model(other):
            raise click.UsageError(f"MODEL comes first: {other} is a model, and {model} is none; swap them") from None
        raise
    return checkpoint, ModelCard.of(checkpoint)


def _is_model(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return find_model(path).is_file()
    return False


def print_use(card: ModelCard | None) -> None:
    """Say what a model may be used for, if its card does."""
    if card is not None and card.training.get("licence"):
        click.echo(f"licence of the model: {card.training['licence']}", err=True)


def warn_if_trivial(dice: float | None, trivial: float | None) -> None:
    """Warn of a model whose mean Dice is not above that of calling every pixel lesion; None: not known."""
    if dice is not None and trivial is not None and dice <= trivial:
        say(
            f"warning: the model is no better than calling every pixel lesion, which has a mean Dice of {trivial:.3f}, "
            f"the model {dice:.3f}; {LEARN_MORE}",
            err=True,
        )


def wrong_option(name: str, reason: str) -> click.UsageError:
    """The error of an option that this call of a command does not have."""
    return click.BadOptionUsage(name, f"--{name}: {reason}")


def _keep_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    state = context.find_root().obj
    state["debug"] = value
    if value:
        state["screen"].filters.clear()


def run_program(program: click.Group, arguments: Sequence[str] | None = None) -> int:
    """Run a command of a program and return its exit code; what goes wrong is the last line printed.

    Args:
        program: the commands. A command returns its exit code, or None for success.
        arguments: of the command line; None for this process's.

    Returns:
        0 for success, 1 for an error or if some cases failed, 2 for a wrong call, 130 after Ctrl-C, 143 after SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    state: dict[str, Any] = {"debug": False, "if_stopped": "", "terminated": False}

    def terminate(*_: Any) -> None:
        state["terminated"] = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    with shown_log() as screen:
        try:
            state["screen"] = screen
            return _run(program, arguments, state)
        finally:
            signal.signal(signal.SIGTERM, before)


def _run(program: click.Group, arguments: Sequence[str] | None, state: dict[str, Any]) -> int:
    try:
        code = program.main(arguments, prog_name=program.name, standalone_mode=False, obj=state)
    except click.MissingParameter as error:  # with a line for each choice
        click.UsageError(" ".join(error.format_message().split()), error.ctx).show()
        return WRONG_CALL
    except click.NoSuchOption as error:
        click.UsageError(_no_such_option(error), error.ctx).show()
        return WRONG_CALL
    except click.ClickException as error:
        error.show()
        return WRONG_CALL if isinstance(error, click.UsageError) else FAILED
    except click.Abort as error:
        return _stopped(state, str(error.__cause__ or ""))
    except Exception as error:
        if state["terminated"]:  # loaders complain that their workers were terminated too
            return _stopped(state)
        if state["debug"]:
            traceback.print_exc()
        sys.stdout.flush()
        say(error_text(error), err=True)
        return FAILED
    return int(code or 0)


def _no_such_option(error: click.NoSuchOption) -> str:
    assert error.ctx is not None
    names = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts if name.startswith("--")]
    like = difflib.get_close_matches(error.option_name, names, n=1, cutoff=0.7)
    hint = f"Did you mean '{like[0]}'?" if like else f"{error.ctx.command_path} --help lists all."
    return f"No such option '{error.option_name}'. {hint}"


def _stopped(state: Mapping[str, Any], sentence: str = "") -> int:
    click.echo(
        sentence or f"stopped by {'SIGTERM' if state['terminated'] else 'Ctrl-C'}{state['if_stopped']}", err=True
    )
    return TERMINATED if state["terminated"] else INTERRUPTED
