"""The page in headless Chromium: drop a file, move the threshold, download; no serious finding of axe."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nibabel
import numpy as np
import pytest
import uvicorn
from PIL import Image

from condseg_monai import Segmenter
from condseg_monai.serve.app import Limits, make_app
from tests.browser import browser, findings, needs_chromium
from tests.ct import AFFINE, phantom, write_dicom

pytestmark = [pytest.mark.slow, needs_chromium]


@contextmanager
def served(model: Any, limits: Limits | None = None) -> Iterator[str]:
    segmenter = Segmenter(model, device="cpu")
    assert segmenter.card
    server = uvicorn.Server(uvicorn.Config(make_app(segmenter, "tiny", limits), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def drop(page, path) -> None:
    """Drop a file or folder, as from a file manager."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 100, "data": data})


def is_done(page) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_have_text(re.compile("^done"), timeout=60_000)


def painted(page, canvas: str) -> np.ndarray:
    uri = page.evaluate("(id) => document.getElementById(id).toDataURL()", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def downloaded(page, button: str):
    with page.expect_download() as download:
        page.click(button)
    return download.value


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_image_is_dropped_its_threshold_moved_and_its_mask_downloaded(image_model, tmp_path, scheme):
    from playwright.sync_api import expect

    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "frame.png")
    result = Segmenter(image_model, device="cpu").predict(pixels)
    width = 1200 if scheme == "light" else 360
    size = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with served(image_model) as address, browser(tmp_path, **size) as page:
        page.goto(address)
        expect(page.locator("#kinds")).not_to_be_empty()
        assert findings(page) == []
        drop(page, tmp_path / "frame.png")
        is_done(page)
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        count = page.locator("#classes td").first
        assert count.inner_text().replace(",", "") == str(result.mask.sum())
        download = downloaded(page, "#download")
        assert download.suggested_filename == "frame_mask.png"
        assert np.array_equal(np.asarray(Image.open(download.path())), result.mask * 255)

        page.focus("#threshold")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#threshold-value") == "0.47"
        moved = result.probability >= np.float32(0.47)
        assert abs(int(count.inner_text().replace(",", "")) - moved.sum()) <= 1
        download = downloaded(page, "#download")
        assert np.array_equal(np.asarray(Image.open(download.path())) > 0, moved)

        plain = {}
        for layer in ("mask", "probability", "uncertainty", "image"):
            page.check(f"[value={layer}]")
            plain[layer] = painted(page, "image")
            assert findings(page) == []
        differences = [(a, b) for a in plain for b in plain if a < b and np.array_equal(plain[a], plain[b])]
        assert differences == []
        is_bound = (plain["mask"] == (0, 229, 255)).all(axis=-1)
        assert is_bound.any() and not is_bound[~moved].any()


def test_what_the_service_refuses_is_said(image_model, tmp_path):
    from playwright.sync_api import expect

    (tmp_path / "note.txt").write_text("no image")
    with served(image_model, Limits(upload_bytes=1000)) as address, browser(tmp_path) as page:
        page.goto(address)
        expect(page.locator("#kinds")).not_to_be_empty()
        page.set_input_files("#file", tmp_path / "note.txt")
        expect(page.locator("#status.error")).to_have_text(re.compile(r"^note\.txt: cannot read the image: not a BMP"))
        (tmp_path / "note.txt").write_bytes(bytes(2000))
        page.set_input_files("#file", tmp_path / "note.txt")
        expect(page.locator("#status")).to_have_text("note.txt: 2000 bytes are more than the limit of 1000")
        assert findings(page) == [] and page.is_hidden("#result")


@pytest.mark.parametrize("dropped", [True, False])
def test_series_is_given_its_cuts_moved_and_its_labels_downloaded(ct_model, tmp_path, dropped):
    pydicom = pytest.importorskip("pydicom")
    from playwright.sync_api import expect

    files = write_dicom(tmp_path / "series", phantom()[0], AFFINE)
    result = Segmenter(ct_model, device="cpu").predict(tmp_path / "series")
    with served(ct_model) as address, browser(tmp_path) as page:
        page.goto(address)
        expect(page.locator("#kinds")).not_to_be_empty()
        drop(page, tmp_path / "series") if dropped else page.set_input_files("#file", files)
        is_done(page)
        assert findings(page) == []
        cells = page.locator("#classes td:nth-child(3)").all_inner_texts()
        assert cells == [f"{value:.1f}" for value in result.volume_ml.values()]
        for plane, length in (("axial", 9), ("coronal", 26), ("sagittal", 20)):
            slider = page.locator(f"#{plane}-index")
            slider.focus()
            page.keyboard.press("Home")
            before = painted(page, plane)
            for _ in range(length // 2):
                page.keyboard.press("ArrowRight")
            assert slider.input_value() == str(length // 2 + 1)
            assert not np.array_equal(painted(page, plane), before)
        page.click("#axial", position={"x": 1, "y": 1})
        assert [page.input_value(f"#{plane}-index") for plane in ("coronal", "sagittal")] == ["1", "1"]
        download = downloaded(page, "#download")
        assert download.suggested_filename == "series_mask.nii.gz"
        path = tmp_path / "labels.nii.gz"
        download.save_as(path)
        assert np.array_equal(np.asarray(nibabel.load(path).dataobj), result.mask)
        assert pydicom.dcmread(downloaded(page, "#download-seg").path()).Modality == "SEG"
