"""The small study in a real server, loaded once for each test module, and its tables to compute the
expected answers from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import neo4j
import numpy as np
import pandas as pd
import pytest

from scircuit.core.edge_rules import DEFAULT, EdgeRule
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.server import BrowserSeed, ServerInfo, start, stop
from scircuit.queries import browser
from tests.queries import small_graph, small_traces
from tests.queries.small_names import NEW, OLD


class Study(NamedTuple):
    """An open connection to the loaded study, and its records."""

    connection: Connection
    frames: dict[str, pd.DataFrame]

    @property
    def features(self) -> pd.DataFrame:
        return self.frames["Feature"].set_index("id", drop=False)

    @property
    def older(self) -> pd.DataFrame:
        """The features as the older trace run and its analysis found them."""
        return small_traces.older(self.frames["Feature"]).set_index("id", drop=False)

    def found_by(self, run: str) -> pd.DataFrame:
        """The features as a trace run and its analysis found them."""
        return self.older if run == OLD else self.features

    def scale(self, e: pd.DataFrame) -> np.ndarray:
        """Mean activation of the target in the run of each edge; 0 where it has none."""
        now, then = (
            f.mean_activation.reindex(e.target).fillna(0) for f in (self.features, self.older)
        )
        return np.where(e.run == OLD, then, now)

    def calibrated(
        self, e: pd.DataFrame, q: float = 0.05, min_support: int = 6, min_effect: float = 0.001
    ) -> pd.Series:
        """Mask of the edges by the calibrated rule."""
        scale = self.scale(e)
        return (
            (e.q <= q)
            & (e.n_pos + e.n_neg >= min_support)
            & (e["mean"].abs() >= min_effect * scale)
        )

    def computed(
        self, e: pd.DataFrame, q: float = 0.05, min_support: int = 6, min_effect: float = 0.001
    ) -> pd.Series:
        """Mask of the edges by the computed rule."""
        scale = self.scale(e)
        return (
            (e.q_computed <= q)
            & (e.computed_cells >= min_support)
            & (e.computed.abs() >= min_effect * scale)
        )

    def carried(
        self, e: pd.DataFrame, q: float = 0.05, min_support: int = 6, min_effect: float = 0.001
    ) -> pd.Series:
        """Mask of the edges by the carried rule."""
        scale = self.scale(e)
        direct = (e.q_direct <= q) & (e.direct.abs() >= min_effect * scale)
        return direct & ~self.computed(e, q, min_support, min_effect)

    def edges(
        self,
        run: str | None = None,
        q: float = 0.05,
        min_support: int = 6,
        min_effect: float = 0.001,
        rule: EdgeRule = DEFAULT,
    ) -> pd.DataFrame:
        """Edges by a rule, derived columns included, in the order of their size."""
        e = self.frames["Feature-AFFECTS-Feature"]
        e = e[
            {"calibrated": self.calibrated, "computed": self.computed}[rule.name](
                e, q, min_support, min_effect
            )
        ]
        e = e[e.run == run] if run else e[e.run.isin([OLD, NEW])]
        non_zero = e.n_pos + e.n_neg
        f = self.features
        return e.assign(
            effect=["support" if m < 0 else "suppress" for m in e[rule.effect]],
            hedges_g=e.d * (1 - 3 / (4 * e.n - 5)),
            n_zero=e.n - non_zero,
            consistency=e[["n_pos", "n_neg"]].max(axis=1) / non_zero,
            strength=e[rule.strength],
            size=e[rule.strength].abs(),
            source_layer=f.layer.loc[e.source].values,
            target_layer=f.layer.loc[e.target].values,
            source_name=f["name"].loc[e.source].values,
            target_name=f["name"].loc[e.target].values,
        ).sort_values(["size", "source", "target"], ascending=[False, True, True])


@pytest.fixture(scope="session")
def neo4j_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    """The real server as a user gets it: with style, saved queries and guide in its Browser."""
    home = tmp_path_factory.mktemp("queries-server") / "neo4j"
    script, files = browser.seed()
    yield start(
        home,
        heap="1g",
        pagecache="256m",
        wait_s=180,
        seed=BrowserSeed(script, files, browser.POST_CONNECT),
    )
    stop(home)


@pytest.fixture(scope="session")
def loaded() -> dict[str, object]:
    """What the server holds, so that several test modules share one load."""
    return {}


def open_study(
    server: ServerInfo, folder: Path, frames: dict[str, pd.DataFrame], loaded: dict[str, object]
) -> Connection:
    """Connection to the server, which holds exactly these frames."""
    from tests.support.neo4j_fixtures import empty_graph

    connection = Connection.open(Target(server.uri, server.user, server.password))
    edges = len(frames["Feature-AFFECTS-Feature"])
    if (
        loaded.get("edges") == edges
        and connection.run("MATCH ()-[r:AFFECTS]->() RETURN count(r) AS n")[0]["n"] == edges
    ):
        return connection
    with neo4j.GraphDatabase.driver(server.uri, auth=(server.user, server.password)) as driver:
        empty_graph(driver)
    small_graph.load(connection, folder, frames)
    loaded["edges"] = edges
    return connection


@pytest.fixture(scope="module")
def study(
    neo4j_server: ServerInfo, loaded: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Study]:
    frames = small_graph.frames()
    with open_study(neo4j_server, tmp_path_factory.mktemp("study"), frames, loaded) as connection:
        yield Study(connection, frames)
