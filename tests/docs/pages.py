"""Run the pages of the documentation: their Python blocks, their commands, and the files that they show."""

from __future__ import annotations

import contextlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from condseg_monai.cli.commands import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDERS = ("tutorials", "reference", "explanation")
SINGLE = ("command.md", "consumers.md", "security.md", "viewers.md")
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in (*(DOCS / name for name in SINGLE), *(page for name in FOLDERS for page in (DOCS / name).glob("*.md")))
    if path.name != "notebook.md"  # the notebook, which is run when the site is built
)
FENCE = re.compile(
    r"^(?:\*Not run by the tests: (?P<reason>[^*]+)\*\n\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<file>[\w.]+)")?\n(?P<text>.*?)^```$',
    flags=re.M | re.S,
)
SMALL = {
    "encoder": "resnet18",
    "encoder_weights": "null",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 1,
    "num_workers": 0,
    "device": "cpu",
    "tracker": "none",
    "progress_bar": "false",
}
"""What the tests add to each ``condseg train``, behind what the page has: the last value counts."""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str
    file: str | None
    reason: str | None

    @property
    def is_run(self) -> bool:
        return self.reason is None and self.language != "text"


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [Block(*match.group("language", "text", "file", "reason")) for match in FENCE.finditer(text)]
    assert len(found) == text.count("```") // 2, f"{page}: a block that is not seen, perhaps one in a list"
    return found


def commands_of(text: str) -> list[list[str]]:
    """The words of each call of ``condseg`` and ``python`` in a block, as Bash reads it; other programs are run."""
    call = "condseg() { printf '%s\\0' condseg \"$@\" $'\\n'; }; "
    script = f"set -eu; {call}{call.replace('condseg', 'python')}\n{text}"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return [line.split("\0")[:-1] for line in run.stdout.split("\n\0") if line]


def run_page(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks of a page one after the other in the current folder, in this process."""
    names: dict = {}
    for block in filter(lambda block: block.is_run, blocks_of(page)):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        else:
            assert block.language == "bash", f"{page}: a block is bash, python, a file with a title, or text"
            for words in commands_of(block.text):
                _run_command(words, monkeypatch)


def _run_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = words
    if program == "condseg":
        if arguments[0] == "train":
            arguments += [f"--{name}={value}" for name, value in _small(arguments).items()]
        assert main(arguments) == 0, " ".join(words)
        return
    assert program == "python" and arguments[0] == "-m", words
    if arguments[1] == "monai.bundle" and any("train_" in word for word in arguments):
        arguments += [f"--{name}={SMALL[name]}" for name in ("epochs", "image_size", "num_workers")]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["", *arguments[2:]])
        patch.syspath_prepend(".")
        try:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            assert not stop.code, " ".join(words)


def _small(arguments: list[str]) -> dict[str, object]:
    has_stage1 = not {"--method", "--init_from"} & set(arguments)
    return SMALL | ({"stage1_epochs": 1, "decoder_channels": 8} if has_stage1 else {})


def write_frames(folder: Path, masks: bool) -> None:
    """Write two images of each of six patients, ``p00_0.png`` and so on, with masks or by themselves."""
    rng = np.random.default_rng(0)
    images = folder / "images" if masks else folder
    images.mkdir(parents=True)
    if masks:
        (folder / "masks").mkdir()
    y, x = np.mgrid[:40, :36]
    for number in range(12):
        name = f"p{number // 2:02d}_{number % 2}.png"
        lesion = (y - rng.uniform(12, 28)) ** 2 + (x - rng.uniform(12, 24)) ** 2 < rng.uniform(30, 90)
        image = np.where(lesion[..., None], (210, 140, 130), (120, 70, 60)) + rng.normal(0, 12, (40, 36, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(images / name)
        if masks:
            Image.fromarray(lesion.astype(np.uint8) * 255).save(folder / "masks" / name)


@contextlib.contextmanager
def small_synthetic_data() -> Iterator[None]:
    """Let the synthetic data sets be tiny, whatever sizes a page gives them."""
    from condseg_monai.data.synthetic import ct_phantom, endoscopy

    images, scans = endoscopy.make_synthetic_dataset, ct_phantom.make_synthetic_ct

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "condseg_monai.make_synthetic_dataset",
            lambda folder, seed=0, **_: images(folder, 8, 2, 3, image_size=40, seed=seed),
            raising=False,
        )
        patch.setattr(
            ct_phantom,
            "make_synthetic_ct",
            lambda folder, num_cases, seed=0: scans(folder, min(num_cases, 4), (8, 24, 32), seed=seed),
        )
        yield
