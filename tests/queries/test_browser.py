"""The real Browser page of the real server in headless Chromium, used as a person would on the
first day.

Connect with user and password; find guide, saved queries and style without uploading anything;
click a saved query, run it, and see nodes in the declared colours with their captions. Each step
leaves a screenshot in the test's folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scircuit.core.schema import NODES
from scircuit.queries.browser.favourites import folders
from scircuit.queries.browser.style import style
from scircuit.queries.catalogue import load_catalogue

pytestmark = [pytest.mark.server, pytest.mark.browser]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)
WAIT_MS = 30_000


def rgb(color: str) -> str:
    return "rgb({}, {}, {})".format(*(int(color[i : i + 2], 16) for i in (1, 3, 5)))


@pytest.fixture(scope="module")
def chromium() -> str:
    found = (
        os.environ.get("SCIRCUIT_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if not found:
        pytest.skip(
            "no chromium on this machine (Debian: apt install chromium; or set SCIRCUIT_CHROMIUM)"
        )
    return found


@pytest.fixture(scope="module")
def page(chromium, study, neo4j_server, tmp_path_factory) -> Iterator:
    """The Browser after a person has opened it and logged in."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("chromium")),
            executable_path=chromium,
            headless=True,
            args=FLAGS.split(),
            viewport={"width": 1500, "height": 950},
        )
        context.set_default_timeout(WAIT_MS)
        page = context.pages[0]
        page.goto(neo4j_server.browser, timeout=WAIT_MS)
        assert page.input_value("[data-testid=username]") == neo4j_server.user
        page.fill("[data-testid=password]", neo4j_server.password)
        page.click("[data-testid=connect]")
        page.wait_for_selector("text=You are connected as user")
        yield page
        context.close()


def shoot(page, folder: Path, name: str) -> None:
    page.screenshot(path=str(folder / f"{name}.png"))
    assert (folder / f"{name}.png").stat().st_size > 10_000


def wait_for_editor(page, text: str) -> None:
    """Wait until the editor shows the text; it writes blanks as no-break spaces."""
    page.wait_for_function(
        "text => document.querySelector('[data-testid=activeEditor]').innerText.replace(/\\u00a0/g,"
        " ' ').includes(text)",
        arg=text,
    )


def run_saved(page, name: str) -> None:
    """Open the saved query as a person does: star, folder, click, run."""
    query = load_catalogue()[name]
    folder = next(f["name"] for f in folders() if f["name"].endswith(query.folder))
    if not page.is_visible(f'text="{folder}"'):
        page.click("[data-testid=navigationFavorites]")
    if not page.is_visible(f'text="{query.title}"'):
        page.click(f'text="{folder}"')
    page.click(f'text="{query.title}"')
    wait_for_editor(page, query.title)
    page.click("[data-testid=editor-Run]")
    page.wait_for_selector(f'[data-testid=frameCommand]:has-text("{query.title}")')


def newest(page, selector: str):
    return page.locator("[data-testid=frame]").first.locator(selector)


def test_the_guide_is_open_after_connecting(page, tmp_path):
    guide = page.wait_for_selector("[data-testid=guidesDrawer]")
    page.wait_for_selector("text=The circuit map")
    shoot(page, tmp_path, "guide")
    page.click("[data-testid=guideNextSlide]")
    words = guide.inner_text()
    assert "Support" in words and "lowers" in words and "Suppress" in words and "raises" in words
    for _ in range(20):  # more slides than the guide has
        if "Where to find each control" in guide.inner_text():
            break
        page.click("[data-testid=guideNextSlide]")
    assert "Where to find each control" in guide.inner_text()
    shoot(page, tmp_path, "guide_controls")


def test_no_error_on_the_first_page(page):
    assert page.locator("[data-testid=frame] >> text=ERROR").count() == 0


def test_a_query_of_the_guide_runs(page):
    if not page.is_visible("text=Where to find each control"):
        pytest.fail("the guide is not on its page of controls")
    page.locator("[data-testid=guidesDrawer] pre.runnable").first.click()
    wait_for_editor(page, "Controls of a run")
    page.click("[data-testid=editor-Run]")
    page.wait_for_selector("[data-testid=frame] >> text=random_direction")


def test_saved_queries_are_there(page, tmp_path):
    page.click("[data-testid=navigationFavorites]")
    for folder in folders():
        page.wait_for_selector(f'text="{folder["name"]}"')
    shoot(page, tmp_path, "saved_queries")


def is_caption(text, name):
    """Whether a text is a name as the Browser draws it: in lines, cut by "…" where the circle ends.

    The address is always whole. Which of the words after it fit depends on the fonts of the
    machine: one that is too long for its line is left out.
    """
    address, *words = name.split()
    flat = "".join(text.split())
    rest, cut = flat.removesuffix("…"), flat.endswith("…")
    if not rest.startswith(address):
        return False
    rest = rest.removeprefix(address)
    for word in words:
        if cut and word.startswith(rest):
            return True
        rest = rest.removeprefix(word)
    return not rest


def test_the_check_of_captions_notices_other_texts():
    name = "L02/F0010 mitotic spindle"
    for text in (
        " L02/F0010 mitotic spindle",
        "L02/F0010 mitotic",
        "L02/F0010 spin…",
        "L02/F0010 …",
    ):
        assert is_caption(text, name), text
    for text in (
        "L02/F001",
        "L02/F0010 spindle mitotic",
        "L02/F0010 spin",
        "L02/F0010 DNA",
        "1",
        "",
    ):
        assert not is_caption(text, name), text


def test_a_saved_graph_query_draws_our_colours_and_captions(page, study, tmp_path):
    run_saved(page, "overview")
    newest(page, "g.node circle.b-outline").first.wait_for()
    circles = newest(page, "g.node circle.b-outline")
    names = set(study.features["name"])
    drawn = newest(page, "g.node").all_text_contents()
    assert 2 <= circles.count() <= 300
    assert {c.get_attribute("fill").upper() for c in circles.all()} == {
        NODES["Feature"].color.upper()
    }
    assert [text for text in drawn if not any(is_caption(text, name) for name in names)] == []
    counts = newest(page, "g.relationship text").all_text_contents()
    assert counts and all(re.fullmatch(r"(-\d+ \+\d+|-.*…|)", text) for text in counts)
    page.wait_for_timeout(3000)
    shoot(page, tmp_path, "overview")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("trrust_graph", {"Feature", "Gene"}),
        ("knowledge_graph", {"Feature", "Gene", "Term"}),
        ("programme_graph", {"Feature", "Term"}),
        ("provenance_graph", {"Run", "Model", "Dictionary", "Cohort", "Control", "GeneSetLibrary"}),
    ],
)
def test_other_kinds_have_their_colours(page, tmp_path, name, labels):
    run_saved(page, name)
    newest(page, "g.node circle.b-outline").first.wait_for()
    fills = {c.get_attribute("fill").upper() for c in newest(page, "g.node circle.b-outline").all()}
    assert fills == {style()[f"node.{label}"]["color"].upper() for label in labels}
    page.wait_for_timeout(2000)
    shoot(page, tmp_path, name)


def test_a_saved_table_query_shows_rows(page, study, tmp_path):
    run_saved(page, "top_hubs")
    newest(page, "text=hub_rank").first.wait_for()
    best = study.features[study.features.layer == 2].sort_values("hub_rank").id.iloc[0]
    newest(page, f"text={best}").first.wait_for()
    shoot(page, tmp_path, "top_hubs")


def test_reopening_keeps_what_the_user_deleted(page):
    # Deleted before the page's own scripts run: the Browser writes its saved queries from memory
    # whenever anything changes.
    page.context.add_init_script("""
        const saved = JSON.parse(localStorage.getItem('neo4j.documents'));
        const kept = saved.filter(d => d.id !== 'scircuit-contents');
        localStorage.setItem('neo4j.documents', JSON.stringify(kept));
        window.deletedByTest = saved.length - kept.length;
    """)
    page.reload()
    page.wait_for_selector("[data-testid=navigationFavorites]")
    assert page.evaluate("window.deletedByTest") == 1
    assert "scircuit-contents" not in page.evaluate("localStorage.getItem('neo4j.documents')")
    page.reload()
    page.wait_for_selector("[data-testid=navigationFavorites]")
    assert page.evaluate("window.deletedByTest") == 0, "the Browser's own copy lacks it too"
