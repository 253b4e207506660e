"""The examples of the README run as they stand; only the study is put into a temporary folder, and
fewer features are traced (`scircuit demo` traces them all).
"""

import functools
import os
import re

import pytest


def block(root, language):
    return re.search(rf"```{language}\n(.*?)```", (root / "README.md").read_text(), re.S).group(1)


@pytest.mark.server
def test_the_readme_runs(root, tmp_path, monkeypatch):
    import scircuit as sc
    from scircuit.ingest import server

    monkeypatch.chdir(root)
    for name in [n for n in os.environ if n.startswith("NEO4J_")]:
        monkeypatch.delenv(name)
    study = tmp_path / "study"
    names = {}
    some = functools.partial(sc.trace, features=tuple(range(0, 384, 6)))
    monkeypatch.setattr(sc, "trace", some)
    try:
        exec(
            compile(
                block(root, "python").replace('"my-study"', repr(str(study))), "README.md", "exec"
            ),
            names,
        )
        wanted = {"n", "mean", "sd", "d", "p", "q", "direct", "computed", "z_computed"}
        assert wanted | {"q_computed", "halves"} <= set(names["edges"].columns)
        assert len(names["hubs"]) == 10
        assert names["page"].exists()
        rows = sc.cypher(block(root, "cypher"), study)
        assert 0 < len(rows) <= 20
        assert set(rows["sign"]) <= {"support", "suppress"}
        assert (rows["r.q_computed"] <= 0.05).all()
    finally:
        server.stop(study / "neo4j")
