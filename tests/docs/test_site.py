"""The documentation site: it is built strictly, the notebook runs, and nothing comes from another host."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import build_docs
import pytest

import condseg_monai
from tests.browser import CHROMIUM, browser, findings

REPOSITORY = build_docs.REPOSITORY
DOCS = build_docs.DOCS
GENERATED = {"tutorials/notebook.md", *(f"reference/api/{part}.md" for part in build_docs.public_names())}
NAVIGATION = re.findall(r'= "([\w/]+\.md)"', (REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))
OF_THE_THEME = ("landmark-unique", "scrollable-region")  # two buttons alike; boxes that scroll, focused by browsers
LOADED = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="([^"]+)"|url\(["\']?([^"\')]+)')


def test_every_page_is_in_the_navigation():
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(NAVIGATION) == sorted(written | GENERATED)


def test_every_public_name_is_in_the_reference():
    paths = [path for paths in build_docs.public_names().values() for path in paths]
    parts = {*build_docs.public_names(), "__version__"}
    assert {path.rpartition(".")[2] for path in paths} == set(condseg_monai.__all__) - parts


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "bundle/docs/README.md", "bundle/docs/condseg_polyp.md"]
)
def test_links_of_pages_outside_the_site_lead_to_files_and_headings(page: str):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        file = (REPOSITORY / page).parent / target if target else REPOSITORY / page
        assert file.exists(), target
        if anchor:
            assert anchor in headings(file.read_text(encoding="utf-8")), f"{target}#{anchor}"


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as the site and repository hosts make them."""
    return {
        re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.M)
    }


@pytest.mark.parametrize("page", sorted(set(NAVIGATION) - GENERATED))
def test_files_that_pages_name_are_there(page: str):
    text = (DOCS / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]\w*/)+[\w.]+\.py)`", text)
    roots = (REPOSITORY, REPOSITORY / "condseg_monai")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_notebook_has_no_outputs():
    """They would say what an earlier version did; the site shows those of its own build."""
    import nbformat

    cells = nbformat.read(build_docs.NOTEBOOK, as_version=4).cells
    assert [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_site_is_built_strictly_with_the_notebook_run_loads_nothing_from_elsewhere_and_can_be_read_by_all(tmp_path):
    """One test, as two would be run by two processes, each of which would build the site."""
    subprocess.run([sys.executable, build_docs.__file__], check=True)
    site = REPOSITORY / "site"
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(NAVIGATION)
    loaded = {
        url
        for path in (*pages, *site.rglob("*.css"))
        for urls in LOADED.findall(path.read_text(encoding="utf-8"))
        for url in urls
        if re.match("(https?:)?//", url)
    }
    assert loaded == set()
    assert len(list((site / "tutorials" / "notebook_files").glob("*.png"))) >= 4
    for part, paths in build_docs.public_names().items():
        page = (site / "reference" / "api" / f"{part}.html").read_text(encoding="utf-8")
        assert [path for path in paths if f'id="{path}"' not in page] == []

    if CHROMIUM is None:
        pytest.skip("the rest needs Chromium: apt-get install chromium")
    with served(site) as address:
        for scheme, width in (("light", 1280), ("dark", 390)):
            check_pages(address, tmp_path / scheme, scheme, width)


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The site as a server gives it: from a folder it has no search, and says so in the console."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check_pages(address: str, folder: Path, scheme: str, width: int) -> None:
    """In light and dark, axe finds nothing, and no page is wider than the window."""
    size = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with browser(folder, **size) as tab:
        for page in ("index", "tutorials/ct", "tutorials/notebook", "reference/options", "reference/api/networks"):
            tab.goto(f"{address}/{page}.html")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
            assert [found for found in findings(tab) if not found.startswith(OF_THE_THEME)] == [], page
