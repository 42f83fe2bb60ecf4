"""docs/consumers.md: each block runs, one after the other."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from condseg_monai.cli.commands import main

PAGE = (Path(__file__).parents[1] / "docs" / "consumers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.M | re.S)


def test_every_block_is_one_that_is_run():
    assert len(BLOCKS) == PAGE.count("```") // 2 and {language for language, _ in BLOCKS} == {"bash", "python"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_block_runs(tmp_path, monkeypatch):
    for package in ("huggingface_hub", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "docs/consumers.md", "exec"), names)
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            if program == "condseg":
                assert main(arguments) == 0, line
            else:
                monkeypatch.setattr(sys, "argv", ["", *arguments[2:]])
                runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
