"""Logging of a command: this package's on the screen, everything in a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from condseg_monai.cli.console import colored, has_colors

__all__ = ["log_to", "send_to_log", "shown_log"]

_PACKAGE = "condseg_monai"


class _ScreenFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One line: the level, if it is a warning or worse, and the message."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        line = level + record.getMessage()
        return colored(line) if has_colors() else line


@contextmanager
def shown_log() -> Iterator[logging.Handler]:
    """Send what this package logs to the screen, and leave out what libraries say; at the end all is as before.

    Enter it before PyTorch and MONAI are imported: they warn while they are.

    Yields:
        The screen; without its filters, it shows all.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(_ScreenFormatter())
    screen.addFilter(logging.Filter(_PACKAGE))
    root.addHandler(screen)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield screen
    finally:
        logging.captureWarnings(False)
        for added in set(root.handlers) - set(handlers):
            added.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def log_to(path: Path) -> None:
    """Write all that is logged to a file too, behind what is in it.

    Args:
        path: the file; its folder is made if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(file)


def send_to_log() -> None:
    """Send to the log what MONAI's and ignite's loggers, each with a handler of its own, print by default."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
