"""The page in a real browser, at the widths of a desk, a tablet and a telephone and on paper:
nothing is cut, and what is wider than a narrow screen has a scroll bar.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.report_page import report_page
from tests.support.report_parts import make_atlas, make_parts

pytestmark = pytest.mark.browser
WIDTHS = (1280, 1024, 768, 390)

# Elements whose content is wider than they are, with what a reader can do about it.
OVERFLOWS = """() => [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('svg') && e.clientWidth > 0 && getComputedStyle(e).display !== 'inline')
  .filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => ({
    name: `${e.tagName}.${e.className} ${e.closest('section')?.id} ${e.textContent.slice(0, 60)}`,
    scrolls: getComputedStyle(e).overflowX === 'auto',
    bar: e.offsetHeight - e.clientHeight,
  }))"""
# Texts of inline drawings that leave their drawing, or lie on another text.
OUTSIDE = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const whole = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')];
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect()]);
  const out = boxes.filter(([, b]) => b.left < whole.left || b.right > whole.right + 0.5
    || b.top < whole.top || b.bottom > whole.bottom + 0.5).map(([t]) => `outside: ${t}`);
  for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
    const [a, b] = [boxes[i][1], boxes[j][1]];
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 1 && y > 6) out.push(`overlap: ${boxes[i][0]} / ${boxes[j][0]}`);
  }
  return out;
})"""
# Parts of the pictures that leave their picture.
PICTURES = """() => Promise.all([...document.images].map(async image => {
  await image.decode();
  const text = new TextDecoder().decode(
    Uint8Array.from(atob(image.src.split(',')[1]), c => c.charCodeAt(0)));
  const holder = document.createElement('div');
  holder.style.cssText = 'position:absolute;left:0;top:0;width:2000px';
  holder.innerHTML = text.slice(text.indexOf('<svg'));
  document.body.append(holder);
  const svg = holder.querySelector('svg'), whole = svg.getBoundingClientRect();
  const words = [...svg.querySelectorAll('g[id^=text_]')];
  const cut = words.filter(g => {
    const b = g.getBoundingClientRect();
    return b.width > 0 && (b.left < whole.left - 1 || b.right > whole.right + 1
      || b.top < whole.top - 1 || b.bottom > whole.bottom + 1);
  }).length;
  holder.remove();
  return {name: image.closest('figure').id, texts: words.length, cut, width: image.naturalWidth};
}))"""


@pytest.fixture(scope="module")
def parts():
    """Every section with something to show, and long words in the tables."""
    made = make_parts()
    label = "regulation of transcription by RNA polymerase II in response to endoplasmic stress"
    return replace(
        made,
        atlases=[make_atlas(0.51, 0.62)],
        trace={**made.trace, "directions": [{}], "edges_computed": 4321, "expected_false": 55.5},
        features=made.features.assign(label=label, ablation_redundancy=[0.61, 0.7, 0.8]),
        dictionaries=made.dictionaries.assign(k=[16, 16], pca_variance_explained=[0.7, 0.6]),
        shifts=pd.DataFrame(
            {
                "source": ["i1"] * 3,
                "target": ["a", "b", "c"],
                "effect": [0.5, -0.2, 0.1],
                "interaction": [0.1, 0.0, 0.0],
                "q": [0.01, 0.5, 0.5],
            }
        ),
    )


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu"],
            ignore_default_args=["--hide-scrollbars"],
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(report_page(parts).html, encoding="utf-8")
    return path


def opened(browser, file, width, **how):
    page = browser.new_page(viewport={"width": width, "height": 900}, **how)
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    return page


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut(browser, file, width):
    page = opened(browser, file, width)
    over = page.evaluate(OVERFLOWS)
    silent = [e["name"] for e in over if not (e["scrolls"] and e["bar"] > 0)]
    assert silent == []
    if width >= 1024:
        assert over == []  # no scrolling sideways at a desk
    root = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert root[0] <= root[1]
    assert page.evaluate(OUTSIDE) == []
    page.close()


def test_the_check_would_find_what_is_cut(browser, tmp_path):
    bad = tmp_path / "bad.html"
    wide = '<table><tr><td style="white-space:nowrap">' + "word " * 300 + "</td></tr></table>"
    svg = '<svg width="90" height="40"><text x="9" y="20">much too long a label</text></svg>'
    bad.write_text(f'<!doctype html><body><div style="overflow:hidden">{wide}</div>{svg}')
    page = opened(browser, bad, 800)
    assert [e["scrolls"] for e in page.evaluate(OVERFLOWS)][-1:] == [False]
    assert page.evaluate(OUTSIDE) == ["outside: much too long a label"]
    page.close()


def test_the_texts_of_the_pictures_are_inside_them(browser, file, parts):
    page = opened(browser, file, 1280)
    found = page.evaluate(PICTURES)
    assert len(found) >= 10
    for picture in found:
        assert picture["texts"] > 3 and picture["width"] > 300, picture
        assert picture["cut"] == 0, picture
    page.close()


def test_on_paper_nothing_is_cut(browser, file):
    page = opened(browser, file, 703)  # what A4 leaves between the margins, in CSS pixels
    page.emulate_media(media="print")
    assert page.evaluate(OVERFLOWS) == []
    assert len(page.pdf(format="A4")) > 50_000
    page.close()


def test_figures_are_drawn(browser, file):
    import io

    import matplotlib.image

    page = opened(browser, file, 1280)
    pixels = matplotlib.image.imread(io.BytesIO(page.screenshot(full_page=True)))[..., :3]
    for color in ((0x1F, 0x6F, 0x9E), (0xD9, 0x82, 0x2B)):  # what was measured, and its control
        assert (np.abs(pixels - np.array(color) / 255).max(axis=2) < 0.03).sum() > 500
    page.close()
