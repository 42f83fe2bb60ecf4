"""Colours where a terminal is, and none elsewhere."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from condseg_monai.cli.console import colored, heading
from condseg_monai.cli.logs import shown_log
from condseg_monai.data.synthetic.endoscopy import make_synthetic_dataset

ESCAPE = "\x1b["


def on_terminal(*command: str, **environment: str) -> str:
    """What a command prints on a terminal."""
    master, slave = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | environment
    process = subprocess.Popen([sys.executable, "-m", "condseg_monai", *command], stdout=slave, stderr=slave, env=env)
    os.close(slave)
    printed = b""
    with suppress(OSError):  # what Linux raises at the end
        while block := os.read(master, 4096):
            printed += block
    os.close(master)
    process.wait()
    return printed.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="has no terminals of this kind")
def test_terminal_shows_headings_and_levels_in_colours_unless_no_color(tmp_path):
    folder = make_synthetic_dataset(tmp_path / "polyps", 2, 1, 1, image_size=32)
    assert heading("Next") in on_terminal("check", str(folder))
    missing = str(tmp_path / "missing")
    assert colored("error:") in on_terminal("check", missing)
    for command in (("check", str(folder)), ("check", missing)):
        assert ESCAPE not in on_terminal(*command, NO_COLOR="1")
        piped = subprocess.run([sys.executable, "-m", "condseg_monai", *command], capture_output=True, text=True)
        assert ESCAPE not in piped.stdout + piped.stderr


@pytest.mark.parametrize("terminal", [True, False])
def test_warnings_that_are_logged_are_coloured_on_a_terminal(capsys, monkeypatch, terminal):
    monkeypatch.delenv("NO_COLOR", raising=False)
    with shown_log():
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        logging.getLogger("condseg_monai").warning("the seed is ignored")
    printed = capsys.readouterr().err
    assert printed == (colored("warning: the seed is ignored") if terminal else "warning: the seed is ignored") + "\n"
    assert (ESCAPE in printed) == terminal
