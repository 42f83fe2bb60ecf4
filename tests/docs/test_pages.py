"""Every command and every Python block of the documentation is run, on tiny data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, blocks_of, run_page, small_synthetic_data, write_frames

NOT_RUN = {
    "command.md": 2,  # completion, a cluster
    "consumers.md": 3,  # minutes of translation to ONNX
    "reference/data.md": 1,  # images that have to be downloaded
    "tutorials/deploy.md": 3,  # Docker, translation to ONNX as in consumers.md
    "tutorials/fine_tune.md": 1,  # a released checkpoint
    "tutorials/first_model.md": 1,  # pip
    "tutorials/many_gpus.md": 3,  # several processes, as in tests/bundle/test_multi_gpu.py, and SLURM
    "tutorials/reproduce.md": 3,  # days of training
    "viewers.md": 1,  # a DICOM series
}


@pytest.mark.parametrize("page", PAGES)
def test_blocks_that_are_not_run_are_those_that_cannot_be(page: str):
    blocks = [block for block in blocks_of(page) if not block.is_run and block.language != "text"]
    assert len(blocks) == NOT_RUN.get(page, 0)


def test_most_blocks_are_run():
    count = Counter(block.language for page in PAGES for block in blocks_of(page) if block.is_run)
    assert count["bash"] >= 25 and count["python"] >= 12


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.is_run for block in blocks_of(page))])
def test_page_runs_from_top_to_bottom(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    if page == "tutorials/own_data.md":
        write_frames(tmp_path / "polyps", masks=True)
        write_frames(tmp_path / "frames", masks=False)
    with small_synthetic_data():
        run_page(page, monkeypatch)
