"""The page on scale says what its measurements give, and its arithmetic is that of the
specification.
"""

import importlib.util
import json

import pytest


@pytest.fixture(scope="module")
def scale(root):
    spec = importlib.util.spec_from_file_location("bench_scale", root / "bench" / "scale.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as path:
        path.syspath_prepend(root / "bench")  # as when the file is started as a program
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def given(scale):
    return json.loads(scale.INPUT.read_text())


def test_the_page_holds_the_tables_of_its_measurements(scale, given):
    text = scale.PAGE.read_text()
    assert scale.page(text, scale.markdown(given)) == text, "run: python bench/scale.py --write"
    assert "ASSUMED" in given["gpu"]["how"] or "bench/tracing.py" in given["gpu"]["how"]


def test_the_arithmetic_is_that_of_the_specification(scale, given):
    cells_20 = {
        (r["context"], r["source_layers"]): r["petaflop"]
        for r in scale.table(given["cpu"], "cpu")
        if r["cells"] == 20
    }
    assert cells_20["exact", 1] == pytest.approx(75, rel=0.03)
    assert cells_20["frozen", 1] == pytest.approx(0.65, rel=0.15)
    assert cells_20["exact", 17] == pytest.approx(960, rel=0.05)


def test_workers_help_up_to_the_number_of_units(scale, given):
    for row in scale.table(given["cpu"], "cpu"):
        seconds = list(row["seconds"].values())
        assert seconds == sorted(seconds, reverse=True)
        assert all(
            a / b <= n / m * 1.001
            for (m, a), (n, b) in zip(
                list(row["seconds"].items())[:-1], list(row["seconds"].items())[1:], strict=True
            )
        )
    few = next(
        r
        for r in scale.table(given["cpu"], "cpu")
        if (r["context"], r["source_layers"], r["cells"]) == ("frozen", 1, 20)
    )
    assert (
        few["units"] < 16 and few["seconds"][16] / few["seconds"][64] < 2
    )  # beyond its units only controls and audit are shared out


def test_bytes_of_an_edge_follow_the_schema(scale):
    from scircuit.core.schema import AFFECTS_PROPERTIES

    # consistency is of imported edges alone
    blocks = {"float": 2, "int": 1, "str": 3}  # of eight bytes, four a record
    assert (
        -(-sum(blocks[p.type] for p in AFFECTS_PROPERTIES if p.name != "consistency") // 4) * 41
        + 34
        == scale.EDGE_BYTES
    )
