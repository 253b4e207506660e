"""What the Browser is given: exactly the schema's labels and types and the catalogue's questions;
safe literals; seeding that respects the user.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from scircuit.core.schema import NODES, RELATIONSHIPS
from scircuit.queries import browser
from scircuit.queries.browser.favourites import documents, folders
from scircuit.queries.browser.guide import BEST, CONTROLS, guide
from scircuit.queries.browser.literal import literal
from scircuit.queries.browser.style import contrast, grass, style
from scircuit.queries.catalogue import load_catalogue
from tests.support.patience import HANGS_S


def test_style_covers_exactly_the_schema():
    rules = style()
    assert {s for s in rules if s.startswith("node.")} == {f"node.{label}" for label in NODES}
    assert {s for s in rules if s.startswith("relationship.")} == {
        f"relationship.{r.type}" for r in RELATIONSHIPS.values()
    }
    for label, node in NODES.items():
        rule = rules[f"node.{label}"]
        assert rule["color"] == node.color and rule["caption"] == f"{{{node.caption}}}"
        assert node.caption in {"id", *(p.name for p in node.properties)}
        assert contrast(rule["color"], rule["text-color-internal"]) >= 4, (
            f"the caption of {label} is hard to read"
        )
    used = set(re.findall(r"\{(\w+)\}", rules["relationship.AFFECTS"]["caption"]))
    assert used <= {p.name for p in RELATIONSHIPS["Feature-AFFECTS-Feature"].properties}
    assert list(rules)[:2] == [
        "node",
        "relationship",
    ], "the last rule wins, so general ones come first"


def test_labels_have_their_own_colours():
    colours = [n.color for n in NODES.values()]
    assert len(set(colours)) == len(colours)


def test_grass_holds_the_same_rules():
    blocks = re.findall(r"([\w.]+) \{\n(.*?)\n\}", grass(style()), flags=re.S)
    read = {
        s: {
            k.strip(): v.strip().strip('";')
            for k, v in (line.split(":", 1) for line in body.splitlines())
        }
        for s, body in blocks
    }
    assert read == style()


def test_saved_queries_are_exactly_the_catalogue():
    saved = {d["id"]: d for d in documents()}
    catalogue = load_catalogue()
    assert set(saved) == {f"scircuit-{name}" for name in catalogue}
    known = {f["id"] for f in folders()}
    for name, query in catalogue.items():
        document = saved[f"scircuit-{name}"]
        assert document["content"].startswith(f"// {query.title}\n") and document["folder"] in known
        assert not re.search(r"\$\w", re.sub(r"^//.*$", "", document["content"], flags=re.M))
    titles = [q.title for q in catalogue.values()]
    assert len(set(titles)) == len(titles) and max(map(len, titles)) <= 26, (
        "longer titles are cut in the Browser"
    )
    assert {d["folder"] for d in documents()} == known


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a'b\\c\n", "'a\\'b\\\\c\\n'"),
        (True, "true"),
        (3, "3"),
        (0.05, "0.05"),
        (["x", 1], "['x', 1]"),
        ("", "''"),
    ],
)
def test_literals(value, text):
    assert literal(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, {"a": 1}, object()])
def test_no_literal(value):
    with pytest.raises(ValueError, match="no Cypher literal"):
        literal(value)


def test_guide_explains_and_asks():
    page = guide()
    for word in ("Support", "lowers", "Suppress", "raises", "<b>q</b>", "halves = 2"):
        assert word in page
    assert sum(len(names) for names in BEST.values()) == 16
    assert page.count('class="pre-scroll code runnable"') >= 16 and page.count(
        "<slide"
    ) == page.count("</slide>")
    declared = {
        p.name for kind in (*NODES.values(), *RELATIONSHIPS.values()) for p in kind.properties
    }
    columns = {c.name for q in load_catalogue().values() for c in q.columns}
    controls = {"zero_edit", "random_direction", "feature_swap", "split_half", "direction_null"}
    named = {w for _, where in CONTROLS for w in re.findall(r"\b[a-z]+_[a-z_]+\b", where)}
    assert named and named <= declared | columns | controls, (
        "the guide names something that does not exist"
    )


def test_seed_is_deterministic_and_complete():
    script, files = browser.seed()
    assert (script, files) == browser.seed()
    assert browser.payload()["hash"] in script and "__SEED__" not in script
    assert (
        files[browser.GUIDE]
        and files["scircuit/style.grass"]
        and len(files) == 2 + len(load_catalogue())
    )


def run_script(script: str, storage: dict[str, object]) -> dict[str, object]:
    """Run the seed script in Node over a storage, and return the storage."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    harness = """
    const [script, kept] = JSON.parse(require('fs').readFileSync(0, 'utf8'));
    const store = {
        getItem: k => k in kept ? JSON.stringify(kept[k]) : null,
        setItem: (k, v) => { kept[k] = JSON.parse(v); },
    };
    globalThis.window = {localStorage: store, console};
    require('vm').runInThisContext(script);
    console.log(JSON.stringify(kept));
    """
    done = subprocess.run(
        [node, "-e", harness],
        input=json.dumps([script, storage]),
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_S,
    )
    return json.loads(done.stdout)


def changed(script: str, **content: object) -> str:
    """The script of a later version with other content."""
    payload = {**browser.payload(), **content, "hash": "later"}
    return script.replace(
        json.dumps(browser.payload(), sort_keys=True), json.dumps(payload, sort_keys=True)
    )


def test_first_open_writes_and_the_second_does_not():
    script, _ = browser.seed()
    first = run_script(script, {})
    assert (
        first["neo4j.grass"] == style()
        and first["neo4j.documents"] == documents()
        and first["neo4j.folders"] == folders()
    )
    assert first["neo4j.settings"]["autoComplete"] is False
    emptied = {**first, "neo4j.documents": []}
    assert run_script(script, emptied) == emptied


def test_the_users_own_things_stay():
    script, _ = browser.seed()
    own = {"id": "mine", "content": "// mine\nRETURN 1"}
    first = run_script(
        script,
        {
            "neo4j.documents": [own],
            "neo4j.grass": {"node.Mine": {"color": "#FF0000"}},
            "neo4j.settings": {"theme": "dark"},
        },
    )
    assert own in first["neo4j.documents"] and len(first["neo4j.documents"]) == len(documents()) + 1
    assert first["neo4j.grass"]["node.Mine"] == {"color": "#FF0000"} and first[
        "neo4j.settings"
    ] == {"theme": "dark"}


def test_a_later_version_respects_changes():
    script, _ = browser.seed()
    storage = run_script(script, {})
    deleted, edited, untouched, withdrawn = documents()[:4]
    storage["neo4j.documents"] = [d for d in storage["neo4j.documents"] if d["id"] != deleted["id"]]
    for document in storage["neo4j.documents"]:
        if document["id"] == edited["id"]:
            document["content"] = "// my own\nRETURN 2"
    storage["neo4j.grass"]["node.Gene"] = {"color": "#000000"}
    now = [
        {**d, "content": d["content"] + "\n// new"}
        for d in documents()
        if d["id"] != withdrawn["id"]
    ] + [{"id": "scircuit-new", "content": "// new", "folder": ""}]
    rules = {s: {**r, "border-width": "9px"} for s, r in style().items()}
    later = run_script(changed(script, documents=now, grass=rules), storage)
    by_id = {d["id"]: d["content"] for d in later["neo4j.documents"]}
    assert (
        deleted["id"] not in by_id
        and withdrawn["id"] not in by_id
        and by_id["scircuit-new"] == "// new"
    )
    assert by_id[edited["id"]] == "// my own\nRETURN 2" and by_id[untouched["id"]].endswith(
        "// new"
    )
    assert (
        later["neo4j.grass"]["node.Gene"] == {"color": "#000000"}
        and later["neo4j.grass"]["node.Term"]["border-width"] == "9px"
    )
