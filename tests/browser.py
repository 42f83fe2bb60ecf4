"""Headless Chromium for tests of pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["CHROMIUM", "browser", "findings", "needs_chromium"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@contextmanager
def browser(folder, **options: Any) -> Iterator[Any]:
    """A page whose errors, and requests to elsewhere, fail the test."""
    from playwright.sync_api import sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path=CHROMIUM, headless=True, args=FLAGS, **options
        )
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: problems.append(request.url))
        yield page
        context.close()
    allowed = r"Failed to load resource: .* 422|http://127\.0\.0\.1:|data:|blob:|file:"
    assert [problem for problem in problems if not re.match(allowed, problem)] == []


def findings(page: Any) -> list[str]:
    """What axe says against the page's accessibility."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert found["passes"]  # it ran
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found["violations"]]
