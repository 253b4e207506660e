"""What the tests of answers share: how an answer is compared, and records joined by pandas."""

from __future__ import annotations

import pandas as pd


def same(answer: pd.DataFrame, expected: pd.DataFrame, columns: list[str] | None = None) -> None:
    assert len(expected), "an empty expectation tests nothing"
    columns = columns or list(answer.columns)
    # Rounding of the last digit differs between Java and numpy.
    pd.testing.assert_frame_equal(
        answer[columns].reset_index(drop=True),
        expected[columns].reset_index(drop=True),
        check_dtype=False,
        rtol=1e-12,
    )


def family(library: str) -> str:
    return "KEGG" if library.startswith("KEGG") else library.removesuffix("-atlas")


def annotations(study) -> pd.DataFrame:
    """ENRICHED_FOR with term, library family, accession, model and layer; `best` is the calibrated
    q, or the published one.
    """
    e = study.frames["Feature-ENRICHED_FOR-Term"].merge(
        study.frames["Term"][["id", "name", "library", "accession"]],
        left_on="target",
        right_on="id",
        suffixes=("", "_term"),
    )
    f = study.features
    best = e.q_calibrated.where(e.origin == "own", e.q)
    return e.assign(
        best=best,
        model=f.model.loc[e.source].values,
        layer=f.layer.loc[e.source].values,
        family=e.library_term.map(family),
    )


def partners(study, kind: str, key: str) -> pd.DataFrame:
    """Relationships of one feature in either direction, the other end as `item`."""
    frame = study.frames[kind]
    out, into = (
        frame[frame.source == key].assign(item=lambda x: x.target),
        frame[frame.target == key].assign(item=lambda x: x.source),
    )
    return pd.concat([out, into], ignore_index=True)
