"""Hand-written pages: links resolve, and every file, module and test that they name exists."""

import importlib.util
import re

import pytest

from tools.collect_changes import KINDS, fragments, with_fragments

PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "docker/README.md"),
    *("changes/README.md", "docs/adapters.md", "docs/architecture.md", "docs/data-model.md"),
    *(
        "docs/glossary.md",
        "docs/inputs.md",
        "docs/interventions.md",
        "docs/knowledge.md",
        "docs/life-of-a-cell.md",
    ),
    *(
        "docs/limits.md",
        "docs/method.md",
        "docs/options.md",
        "docs/queries.md",
        "docs/replication.md",
        "docs/reproduction.md",
    ),
    *("docs/scale.md", "docs/tutorial.md", "docs/validation.md"),
)
FOLDERS = (
    *("scircuit", "tracing", "analysis", "ingest", "queries", "tests", "tools", "docs"),
    *("bench", "examples", "docker", "changes"),
)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*|\.ci/\w+")
MODULE = re.compile(r"scircuit(?:\.\w+)+")


def without_blocks(text):
    """The page without fenced code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text):
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_page_is_checked(root):
    assert {f"docs/{p.name}" for p in (root / "docs").glob("*.md")} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(root, page):
    text = (root / page).read_text()
    for link in LINK.findall(without_blocks(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (root / page).parent / path if path else root / page
        assert target.exists(), f"{page} links to {link}, which does not exist"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page} links to {link}: no such heading"


@pytest.mark.parametrize("page", PAGES)
def test_named_paths_exist(root, page):
    text = (root / page).read_text()
    for code in CODE.findall(text):
        if PATH.fullmatch(code):
            assert (root / code).exists() or "my" in code, f"{page} names {code}"


@pytest.mark.parametrize("page", PAGES)
def test_named_modules_exist(root, page):
    text = (root / page).read_text()
    for code in CODE.findall(text):
        name = code.split("(")[0]
        if not MODULE.fullmatch(name):
            continue
        module, rest = name, []
        while not found(module):
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
            assert module, f"{page} names {name}"
        value = importlib.import_module(module)
        for attribute in rest:
            assert hasattr(value, attribute), f"{page} names {name}: {module} has no {attribute}"
            value = getattr(value, attribute)


def found(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES)
def test_named_tests_exist(root, page):
    files = {path.stem for path in (root / "tests").rglob("test_*.py")}
    for name in re.findall(r"`(test_\w+)`", (root / page).read_text()):
        assert name in files, f"{page} names {name}"


def test_fragments_of_the_change_log_are_whole(root):
    fragments(root / "changes")


def test_fragments_join_the_unreleased_section(tmp_path):
    (tmp_path / "README.md").write_text("What this folder is for.")
    (tmp_path / "sum.fixed.md").write_text("Sums are right.\n")
    (tmp_path / "plot.added.md").write_text("There is a plot.\n")
    log = "# Log\n\n## 2.0 (unreleased)\n\n### Fixed\n- One.\n\n## 1.0\n\n### Fixed\n- Two.\n"
    joined = with_fragments(log, fragments(tmp_path))
    assert joined == (
        "# Log\n\n## 2.0 (unreleased)\n\n### Fixed\n- Sums are right.\n- One.\n\n"
        "### Added\n- There is a plot.\n\n## 1.0\n\n### Fixed\n- Two.\n"
    )


@pytest.mark.parametrize(
    ("name", "text"), [("x.md", "One."), ("x.new.md", "One."), ("x.added.md", "One\nTwo.")]
)
def test_fragments_with_faults_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        fragments(tmp_path)


def test_a_change_log_without_an_unreleased_section_is_refused():
    with pytest.raises(ValueError, match="unreleased"):
        with_fragments("# Log\n\n## 1.0\n", {KINDS[0]: ["One."]})
