from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: the stored numbers (released vectors, golden losses) were computed with AVX2 instructions,
# and wider ones round differently.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")

import numpy as np
import pytest
import torch
from PIL import Image

# Tests send Ctrl-C, also where pytest itself runs in the background, which ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if not torch.cuda.is_available():  # before Triton is imported: its kernels run on the CPU, in Python
    os.environ.setdefault("TRITON_INTERPRET", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def same_loggers() -> Iterator[None]:
    """Give the loggers back what a command takes from them."""
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, list(logger.handlers), list(logger.filters), logger.propagate) for logger in loggers]
    yield
    for logger, handlers, filters, propagate in before:
        logger.handlers[:], logger.filters[:], logger.propagate = handlers, filters, propagate


@pytest.fixture(scope="session", autouse=True)
def other_processes_start_sooner() -> Iterator[None]:
    """Leave out of the processes that tests start what MONAI imports if it can: a third of their start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "absent"), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session", autouse=True)
def curves_are_a_dot() -> Iterator[None]:
    """Draw a dot for the curves of a training, which take a second: ``tests/reports/test_curves.py`` draws them."""
    from condseg_monai.reports import curves

    @functools.wraps(curves.draw_curves)
    def draw_dot(folder: str | os.PathLike[str]) -> None:
        Image.new("RGB", (1, 1)).save(Path(folder) / "curves.png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw_curves", draw_dot)
        yield


@pytest.fixture(scope="session")
def bundle_dir() -> Path:
    return REPOSITORY / "bundle"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder of real images, which are no part of the repository."""
    folder = os.environ.get("CONDSEG_MONAI_TEST_DATA")
    if not folder:
        pytest.skip("needs real images: CONDSEG_MONAI_TEST_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training, three validation and two test images of 40 x 36 pixels: a pink ellipse on brown noise."""
    folder = tmp_path_factory.mktemp("tiny_dataset")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    height, width = 40, 36
    y, x = np.mgrid[:height, :width]
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        stems = [f"{split}_{index}" for index in range(count)]
        for stem in stems:
            centre_y, centre_x = rng.uniform(12, 28), rng.uniform(12, 24)
            mask = ((y - centre_y) / rng.uniform(6, 10)) ** 2 + ((x - centre_x) / rng.uniform(5, 9)) ** 2 <= 1
            colour = np.where(mask[..., None], (210, 140, 130), (120, 70, 60))
            noisy = np.clip(colour + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / "images" / f"{stem}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{stem}.png")
        (folder / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return folder
