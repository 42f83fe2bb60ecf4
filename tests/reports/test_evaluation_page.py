"""HTML page of an evaluation: self-contained, complete, sortable."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from condseg_monai import ProbabilityBinMetric
from condseg_monai.metrics.probability_bins import calibration_curve, threshold_curve
from condseg_monai.reports.comparison import compare_evaluations
from condseg_monai.reports.comparison_files import write_comparison
from condseg_monai.reports.drawing import picture_uri
from condseg_monai.reports.evaluation_page import CasePicture, html_report
from condseg_monai.reports.pages import score_title
from condseg_monai.reports.score_table import ScoreTable
from condseg_monai.reports.summary import summarize_scores, summarize_sizes
from tests.browser import browser, findings, needs_chromium

# Clicks a few headings as a person would and says what the table shows then.
PROBE = """
() => {
  const rows = () => document.querySelectorAll("#per-image tbody tr:not([hidden]) th");
  const shown = () => Array.from(rows(), th => th.textContent);
  const heads = Array.from(document.querySelectorAll("#per-image thead th"));
  const click = title => heads.find(th => th.title === title).querySelector("button").click();
  const order = { before: shown() };
  for (const title of ["file", "mean_dice_original", "hd95_original"]) {
    click(title);
    order[title] = shown();
    click(title);
    order[title + " again"] = shown();
  }
  const filter = document.getElementById("filter");
  filter.value = "B ";
  filter.dispatchEvent(new Event("input"));
  order.filtered = shown();
  order.pictures = Array.from(document.images, image => image.naturalWidth);
  order.sorted = heads.filter(th => th.hasAttribute("aria-sort")).map(th => [th.title, th.getAttribute("aria-sort")]);
  return order;
}
"""


@pytest.fixture
def page(table: ScoreTable) -> str:
    summary = {
        "images": len(table),
        "scores": summarize_scores(table),
        "pooled": {"pooled_iou": 0.4321},
        "subgroups": summarize_sizes(table),
        "split": "val",
        "checkpoint": "models/<model>.pt",
        "rules": {"empty_masks": "both empty is 1"},
    }
    address = picture_uri(np.full((8, 8, 3), 128, dtype=np.uint8))
    worst = [CasePicture("c.png", address, address)]
    best = [CasePicture("é<i>&.jpg", address, address)]
    return html_report("Evaluation on val", table, summary, worst, best, "mean_dice_original")


class Elements(HTMLParser):
    """Every tag and its attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_page_asks_for_nothing_outside_itself(page):
    tags = Elements(page).tags
    addresses = [value for _, attrs in tags for key, value in attrs.items() if key in ("src", "href", "srcset", "data")]
    assert len(addresses) == 4
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "embed", "base")]
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest", page)
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_names_from_outside_are_text(page):
    assert "<i>&" not in page
    assert "é<i>&.jpg" in Elements(page).text
    assert "models/<model>.pt" in Elements(page).text


def test_every_number_of_the_summary_is_there(page, table):
    text = Elements(page).text
    for name, score in summarize_scores(table).items():
        assert name in text
        if np.isfinite(score["mean"]):
            assert f"{score['mean']:.4f}" in text
            assert f"{score['interval_95'][0]:.4f} to {score['interval_95'][1]:.4f}" in text
    assert "0.4321" in text
    assert "small under 5%, medium under 20%" in text
    assert "HD95 (2 without a finite value left out)" in text
    assert "both empty is 1" in text


def test_histogram_has_bars_as_tall_as_their_counts(table):
    dice = ScoreTable(list("abcde"), {"mean_dice": np.array([0.01, 0.02, 0.03, 0.62, 1.0])})
    page = html_report("Bars", dice, {"images": 5, "scores": summarize_scores(dice)})
    (svg,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    root = ElementTree.fromstring(svg)
    heights = [float(bar.get("height")) for bar in root.iter("rect")]
    assert [i for i, height in enumerate(heights) if height] == [0, 12, 19]
    assert (heights[0], heights[12], heights[19]) == (120, 40, 40)
    assert [title.text for title in root.iter("title")][:2] == ["0 to 0.05: 3", "0.05 to 0.1: 0"]
    assert [line.get("class") for line in root.iter("line")] == ["mean", "median"]


def test_charts_of_thresholds_and_calibration(table):
    metric = ProbabilityBinMetric()
    label = torch.zeros(1, 10, 10)
    label[0, :4] = 1
    metric([label * 0.75 + 0.1], [label])
    rows = metric.measurements()
    curves = {"calibration": calibration_curve(rows, 0.3), "thresholds": threshold_curve(rows), "threshold": 0.3}
    page = html_report("Charts", table, {"images": 6, "scores": summarize_scores(table), **curves})
    first, second = re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL)
    lines = [line.get("points").split() for line in ElementTree.fromstring(first).iter("polyline")]
    assert [len(points) for points in lines] == [99] * 4
    assert lines[0][0] == "50.6,95.7"  # threshold 0.01, Dice of everything foreground: 2 * 40 / (100 + 40)
    assert lines[0][50] == "180.6,10.0"  # 0.51: perfect
    assert "Used: 0.3" in page
    model, perfect = (line.get("points").split() for line in ElementTree.fromstring(second).iter("polyline"))
    assert model == ["74.0,210.0", "269.0,10.0"]  # at 0.1 none is lesion, at 0.85 all
    assert perfect == ["48.0,210.0", "308.0,10.0"]


def test_sections_without_content_are_left_out(table):
    bare = html_report("Bare", ScoreTable(table.files, table.scores), {"images": 6, "scores": summarize_scores(table)})
    for name in ("sizes", "worst", "best", "rules"):
        assert f'<section id="{name}">' not in bare
    assert '<section id="images">' in bare


def test_titles_are_those_of_the_field():
    names = ["mean_dice_original", "pooled_iou", "f2", "hd95_original", "new_score"]
    assert [score_title(name) for name in names] == ["Dice", "IoU", "F2", "HD95", "New score"]


@pytest.mark.slow
@needs_chromium
def test_table_sorts_and_filters_in_a_browser(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    with browser(tmp_path) as tab:
        tab.goto(path.as_uri())
        found = tab.evaluate(PROBE)
    assert found["before"] == ["b 10.png", "b 2.png", "é<i>&.jpg", "c.png", "d.png", "e.png"]
    by_name = ["b 2.png", "b 10.png", "c.png", "d.png", "e.png", "é<i>&.jpg"]
    assert (found["file"], found["file again"]) == (by_name, by_name[::-1])
    by_dice = ["c.png", "b 2.png", "d.png", "e.png", "b 10.png", "é<i>&.jpg"]
    assert found["mean_dice_original"] == by_dice
    assert found["mean_dice_original again"] == by_dice[::-1]
    by_distance = ["é<i>&.jpg", "b 10.png", "e.png", "b 2.png", "d.png"]  # the last one is infinite
    assert found["hd95_original"] == [*by_distance, "c.png"]
    assert found["hd95_original again"] == [*by_distance[::-1], "c.png"]  # no distance: last in either order
    assert found["sorted"] == [["hd95_original", "descending"]]
    assert found["filtered"] == ["b 2.png", "b 10.png"]
    assert found["pictures"] == [8, 8, 8, 8]


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(page, table, tmp_path, scheme):
    for name, content in (("report", page), ("comparison", comparison(tmp_path))):
        path = tmp_path / f"{name}.html"
        path.write_text(content, encoding="utf-8")
        with browser(tmp_path, color_scheme=scheme, bypass_csp=True) as tab:  # axe is a script from outside
            tab.goto(path.as_uri())
            assert findings(tab) == []


@pytest.mark.slow
@needs_chromium
def test_pages_are_printed_whole_and_on_white(page, tmp_path):
    landscape = {"width": 1046, "height": 718}  # A4 without its margins
    for name, content in (("report", page), ("comparison", comparison(tmp_path))):
        path = tmp_path / f"{name}.html"
        path.write_text(content, encoding="utf-8")
        with browser(tmp_path, color_scheme="dark", viewport=landscape) as tab:
            tab.emulate_media(media="print")
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 1046, name
            assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            boxes = "[...document.querySelectorAll('.scroll')]"
            assert tab.evaluate(f"{boxes}.every(box => getComputedStyle(box).overflowX == 'visible')")


@pytest.mark.slow
@needs_chromium
def test_pages_are_not_wider_than_a_phone(page, tmp_path):
    for name, content in (("report", page), ("comparison", comparison(tmp_path))):
        path = tmp_path / f"{name}.html"
        path.write_text(content, encoding="utf-8")
        with browser(tmp_path, viewport={"width": 390, "height": 800}) as tab:
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, name


def comparison(folder: Path) -> str:
    rows = {"mean_dice": np.linspace(0.2, 0.9, 8)}
    for name in "ab":
        ScoreTable([f"{i}.png" for i in range(8)], rows).write(folder / f"{name}.csv")
    result = compare_evaluations(folder / "a.csv", folder / "b.csv")
    return write_comparison([result], folder / "comparison")["html"].read_text(encoding="utf-8")
