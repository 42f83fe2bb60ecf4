"""Open a DICOM series and its DICOM SEG in OHIF: ``ohif.py DIST SERIES SEG SCREENSHOT``.

``DIST`` is the built viewer, of npm's @ohif/app. Its labels are compared with those of the file, slice by slice.
"""

import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pydicom
from playwright.sync_api import Page, sync_playwright

from tests.browser import CHROMIUM

SOURCE = """dataSources: [{namespace: '@ohif/extension-default.dataSourcesModule.dicomlocal', sourceName: 'dicomlocal',
    configuration: {friendlyName: 'local'}},"""  # the page /local, which the configuration on npm does not have
LABELS = """() => {
    const labels = {};
    for (const segmentation of window.services.segmentationService.getSegmentations())
        for (const id of segmentation.representationData.Labelmap.imageIds) {
            const image = window.cornerstone.cache.getImage(id);
            const slice = window.cornerstone.metaData.get("sopCommonModule", image.referencedImageId);
            labels[slice.sopInstanceUID] = Array.from(image.voxelManager.getScalarData());
        }
    return labels;
}"""


def labels_of_file(path: Path) -> dict[str, np.ndarray]:
    """The labels in a SEG of one segment a frame, by the slice they are of."""
    seg, labels = pydicom.dcmread(path), {}
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels.setdefault(uid, np.zeros(mask.shape, np.uint8))[mask > 0] = number
    return labels


def labels_in_viewer(page: Page, address: str, files: list[Path], screenshot: Path) -> dict[str, list[int]]:
    """Give a viewer the files, open the segmentation, and ask it for the labels."""
    page.goto(f"{address}/local")
    page.locator("input[type=file]").first.set_input_files(files)
    page.get_by_text("CT/SEG").click()
    page.get_by_text("Segmentation", exact=True).first.click()
    page.get_by_text("SEG", exact=True).dblclick()
    page.get_by_text("Yes", exact=True).click()
    page.wait_for_function(f"Object.keys(({LABELS})()).length > 0")
    page.get_by_text("Confirm and hide").click()
    page.mouse.move(640, 400)
    for _ in range(len(files) // 4):  # to the middle, from the first slice with labels
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(500)
    page.screenshot(path=screenshot)
    return dict(page.evaluate(LABELS))


class Handler(SimpleHTTPRequestHandler):
    """Files, and the viewer's page for all its addresses."""

    def translate_path(self, path: str) -> str:  # noqa: D102
        file = super().translate_path(path)
        return file if Path(file).is_file() else str(Path(self.directory) / "index.html")

    def log_message(self, *_: object) -> None:  # noqa: D102
        pass


dist, series, seg, screenshot = map(Path, sys.argv[1:])
config = dist / "app-config.js"
config.write_text(config.read_text().replace("dataSources: [", SOURCE, 1))
server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=dist))
threading.Thread(target=server.serve_forever, daemon=True).start()
with sync_playwright() as playwright:
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
    opened = chromium.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(120_000)
    files = [*sorted(series.iterdir()), seg]
    found = labels_in_viewer(opened, f"http://127.0.0.1:{server.server_port}", files, screenshot)
    chromium.close()
expected = labels_of_file(seg)
if missing := expected.keys() - found.keys():
    sys.exit(f"the viewer has no labels of {len(missing)} of {len(expected)} slices")
differ = sum(int((np.asarray(found[uid]) != mask.ravel()).sum()) for uid, mask in expected.items())
beside = sum(map(any, (found[uid] for uid in found.keys() - expected.keys())))
if differ or beside:
    sys.exit(f"{differ} pixels differ, and {beside} slices have labels that are in no frame")
print(f"0 of {sum(mask.size for mask in expected.values()):,} pixels differ")
