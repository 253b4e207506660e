"""The later panel of 80 steered features (P2): every stored statistic from the stored cell values.

At layer 17 the steered state is the final state, so the pseudotime readout is
``(a - 1) mean_p h_p (w . W_dec)``: exactly linear in the coefficient a, its sign fixed by a dot
product of weights. No propagation through the model is tested there.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.exhaustive.steering import runs
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.study_files import StudyFiles

EACH = "revision/P2_steering/features/*.json"
SUMMARY = "revision/P2_steering/summary.json"
READOUTS = "revision/P2_steering/readout_analysis.json"
_FOUR = ("delta_s_global", "marker_score", "delta_p_terminal", "delta_pseudotime")
_LAYERS, _KINDS, _MIN_CELLS = (0, 5, 11, 17), ("ON", "OFF"), 10


class Condition(NamedTuple):
    """One feature at one coefficient, with the values of the cells by readout."""

    layer: int
    index: int
    kind: str
    alpha: str
    cells: int
    stated: dict[str, Any]
    values: dict[str, np.ndarray]


def _conditions(files: StudyFiles) -> list[Condition]:
    found = []
    for f in files.all_json(EACH).values():
        for alpha, part in f["alphas"].items():
            stated = {k: v for k, v in part.items() if isinstance(v, dict)}
            values = {k: np.array(v["values"], dtype=float) for k, v in stated.items()}
            key = (f["layer"], f["idx"], f["kind"], alpha, part["n_cells"])
            found.append(Condition(*key, stated, values))
    return sorted(found, key=lambda c: (c.layer, c.index, float(c.alpha)))


def conditions(files: StudyFiles) -> list[Condition]:
    """All conditions, by layer, index and coefficient."""
    return files.once("panel", _conditions)


def _at(
    files: StudyFiles, alpha: str, layer: int | None = None, kind: str | None = None
) -> Iterator[Condition]:
    for c in conditions(files):
        if c.alpha == alpha and layer in (None, c.layer) and kind in (None, c.kind):
            yield c


def _stored(files: StudyFiles) -> Value:
    """Values stored, and the largest deviation of their stated mean, sd and share positive."""
    count, worst = 0, 0.0
    for c in conditions(files):
        for name, v in c.values.items():
            count += v.size
            found = (v.mean(), v.std(), (v > 0).mean())
            stated = (c.stated[name][k] for k in ("mean", "sd", "frac_positive"))
            worst = max(worst, *(abs(a - b) for a, b in zip(found, stated, strict=True)))
    return [count, float(worst)]


def _same_as_first(files: StudyFiles) -> Value:
    """Conditions of the first release found again, and the largest difference of mean shifts."""
    panel = {(c.layer, c.index, c.alpha): c for c in conditions(files)}
    again, worst = 0, 0.0
    for r in runs(files):
        for alpha, old in r["alpha_results"].items():
            new = panel.get((r["layer"], r["feature_idx"], alpha))
            if new is None or new.cells != old["n_cells_steered"]:
                continue
            shift = new.stated["delta_s_global"]
            again += shift["frac_positive"] == old["frac_positive_shift"]
            worst = max(worst, abs(shift["mean"] - old["mean_state_shift"]))
    return [f"{again} of {sum(len(r['alpha_results']) for r in runs(files))}", worst]


def _table4(kind: str) -> Callable[[StudyFiles], Value]:
    return lambda files: [
        statistics.mean(c.stated[name]["frac_positive"] for c in _at(files, "5.0", 17, kind))
        for name in ("delta_s_global", "marker_score", "delta_p_terminal", "delta_pseudotime")
    ]


def _mean_share(files: StudyFiles) -> Value:
    return [
        statistics.mean(
            c.stated["delta_s_global"]["frac_positive"]
            for c in _at(files, "5.0", layer, "ON")
            if _enough(files, c)
        )
        for layer in (0, 5, 11)
    ]


def _p_of_cells(values: np.ndarray) -> float:
    from scipy.stats import ttest_1samp

    if values.size <= 2:
        return 1.0
    return float(np.asarray(ttest_1samp(values, 0.0))[1])


def _significant(group: list[Condition], name: str) -> tuple[int, int]:
    q = benjamini_hochberg(np.array([_p_of_cells(c.values[name]) for c in group]))
    means = np.array([c.values[name].mean() for c in group])
    return int(((q < 0.05) & (means > 0)).sum()), int(((q < 0.05) & (means < 0)).sum())


def _bh_counts(files: StudyFiles) -> str:
    stated, good, total = files.json(SUMMARY)["per_layer"], 0, 0
    for alpha in ("2.0", "5.0"):
        for layer in _LAYERS:
            for kind in _KINDS:
                group = list(_at(files, alpha, layer, kind))
                for name, part in stated[f"alpha{alpha}_L{layer}_{kind}"].items():
                    if not isinstance(part, dict):
                        continue
                    found = _significant(group, name)
                    wanted = (part["n_significant_positive"], part["n_significant_negative"])
                    total += 1
                    good += found == wanted
    return f"{good} of {total}"


def _last_layer(files: StudyFiles) -> list[str]:
    on, off = (list(_at(files, "5.0", 17, kind)) for kind in _KINDS)
    more = _significant(on, "delta_p_terminal")[0]
    less = _significant(off, "delta_p_terminal")[1]
    return [f"{more}/{len(on)}", f"{less}/{len(off)}"]


def _ratio_at_last_layer(files: StudyFiles) -> float:
    two, five = ({c.index: c for c in _at(files, a, 17)} for a in ("2.0", "5.0"))
    return statistics.median(
        float(five[i].values["delta_pseudotime"].mean() / two[i].values["delta_pseudotime"].mean())
        for i in two
    )


def _all_or_none(files: StudyFiles) -> str:
    shares = [
        c.stated[name]["frac_positive"]
        for c in _at(files, "5.0", 17)
        for name in ("delta_p_terminal", "delta_pseudotime")
    ]
    return f"{sum(s in (0.0, 1.0) for s in shares)} of {len(shares)}"


def _means(group: list[Condition], name: str) -> list[float]:
    return [float(c.values[name].mean()) for c in group]


def _contrasts(files: StudyFiles, alpha: str) -> dict[tuple[int, str], float]:
    """Two-sided Mann-Whitney p of ON against OFF, by layer and readout."""
    from scipy.stats import mannwhitneyu

    found = {}
    for layer in _LAYERS:
        on, off = (
            [c for c in _at(files, alpha, layer, kind) if _enough(files, c)] for kind in _KINDS
        )
        for name in _FOUR:
            u = mannwhitneyu(_means(on, name), _means(off, name), alternative="two-sided")
            found[layer, name] = float(np.asarray(u)[1])
    return found


def _enough(files: StudyFiles, c: Condition) -> bool:
    """Whether the feature is active in at least ten cells at coefficient 5."""
    return _cells_at_5(files)[c.layer, c.index] >= _MIN_CELLS


def _cells_at_5(files: StudyFiles) -> dict[tuple[int, int], int]:
    return files.once("panel cells", lambda f: {(c.layer, c.index): c.cells for c in _at(f, "5.0")})


def _mann_whitney(files: StudyFiles) -> str:
    stated, good, total = files.json(READOUTS)["on_off_contrast"], 0, 0
    for alpha in ("2.0", "5.0"):
        for (layer, name), p in _contrasts(files, alpha).items():
            total += 1
            good += abs(stated[f"alpha{alpha}_L{layer}"][name]["mannwhitney_p"] - p) < 1e-9
    return f"{good} of {total}"


def _q_of_contrasts(files: StudyFiles) -> list[float]:
    p = np.array(list(_contrasts(files, "5.0").values()))
    return [float(p.min()), float(benjamini_hochberg(p).min())]


def _doses(files: StudyFiles, key: Callable[[np.ndarray, np.ndarray], bool]) -> list[int]:
    by_feature: dict[tuple[int, int], list[Condition]] = defaultdict(list)
    for c in conditions(files):
        by_feature[c.layer, c.index].append(c)
    grids = [
        g for k, g in by_feature.items() if len(g) == 5 and _cells_at_5(files)[k] >= _MIN_CELLS
    ]
    found = []
    for name in _FOUR:
        alphas = [np.array([float(c.alpha) for c in g]) for g in grids]
        means = [np.array(_means(g, name)) for g in grids]
        found.append(sum(key(a, m) for a, m in zip(alphas, means, strict=True)))
    return [*found, len(grids)]


def _monotone(alphas: np.ndarray, means: np.ndarray) -> bool:
    from scipy.stats import spearmanr

    return float(np.asarray(spearmanr(alphas, np.abs(means)))[0]) > 0.8


def _one_sign(_: np.ndarray, means: np.ndarray) -> bool:
    return len(set(np.sign(means))) == 1


def _gradient(name: str) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        from scipy.stats import spearmanr

        on = [c for c in _at(files, "5.0", kind="ON") if _enough(files, c)]
        found = np.asarray(spearmanr([c.layer for c in on], _means(on, name)), dtype=float)
        return [float(found[0]), float(found[1])]

    return test


def _agreement(name: str, enough: bool) -> Callable[[StudyFiles], Value]:
    def test(files: StudyFiles) -> Value:
        from scipy.stats import spearmanr

        group = [c for c in _at(files, "5.0") if not enough or _enough(files, c)]
        found = spearmanr(_means(group, "delta_s_global"), _means(group, name))
        rho, p = np.asarray(found, dtype=float)
        return [len(group), float(rho), float(p)]

    return test


_P2 = (EACH,)

PANEL = Theme(
    "panel",
    "Steering, the later panel of 80 features",
    (
        Check(
            "values",
            "stored cell values; largest deviation of stated statistics",
            "98,250 / 0.000000000",
            _stored,
            _P2,
        ),
        Check(
            "again",
            "conditions of the first release with equal cells and share positive; largest"
            " difference of mean shifts",
            "28 of 28 / 0.0000000",
            _same_as_first,
            (EACH, "trajectory_steering/steering_*.json"),
        ),
        Check(
            "table4_on",
            "layer 17 ON, coefficient 5: share of cells positive for the four readouts",
            "0.742 / 0.595 / 0.833 / 0.667",
            _table4("ON"),
            _P2,
        ),
        Check("table4_off", "the same, OFF", "0.380 / 0.760 / 0.125 / 0.375", _table4("OFF"), _P2),
        Check(
            "shares",
            "layers 0, 5, 11 ON: share positive",
            "0.44 / 0.57 / 0.48",
            _mean_share,
            _P2,
            "features active in at least 10 cells",
        ),
        Check("bh", "counts of significant features", "96 of 96", _bh_counts, (EACH, SUMMARY)),
        Check(
            "last_layer",
            "layer 17, probe of terminal cells: ON raised, OFF lowered (q < 0.05)",
            "10/12 / 7/8",
            _last_layer,
            _P2,
        ),
        Check(
            "mann_whitney",
            "Mann-Whitney p of ON against OFF",
            "32 of 32",
            _mann_whitney,
            (EACH, READOUTS),
        ),
        Check(
            "sixteen",
            "ON and OFF differ at layer 17 (p 0.0055): smallest p, and q over the 16 tests",
            "q below 0.05",
            _q_of_contrasts,
            _P2,
            claim=True,
            holds=lambda v: v[1] < 0.05,
        ),
        Check(
            "tautology",
            "layer-17 pseudotime shift at coefficient 5 over that at 2 (an effect through the model"
            " would not be exactly (5 - 1) / (2 - 1))",
            "not 4.000",
            _ratio_at_last_layer,
            _P2,
            "a dot product of weights fixes the readout: nothing is propagated",
            claim=True,
            holds=lambda v: abs(v - 4) >= 0.0005,
        ),
        Check(
            "all_or_none",
            "layer-17 shares that are exactly 0 or 1 on both probes",
            "",
            _all_or_none,
            _P2,
            "the feature, not the cell, decides the sign: 83 % of cells are 10 of 12 features",
        ),
        Check(
            "monotone",
            "dose: monotone in 4 readouts, of",
            "27 / 27 / 25 / 25 / 29",
            lambda f: _doses(f, _monotone),
            _P2,
        ),
        Check(
            "sign",
            "dose: one sign in 4 readouts, of",
            "22 / 29 / 24 / 27 / 29",
            lambda f: _doses(f, _one_sign),
            _P2,
        ),
        Check(
            "gradient",
            "layer gradient, probe of terminal cells: rho, p",
            "0.36 / 0.017",
            _gradient("delta_p_terminal"),
            _P2,
            "1 of 4 readouts",
        ),
        Check(
            "gradient_s",
            "layer gradient, state shift: rho, p",
            "0.23 / 0.145",
            _gradient("delta_s_global"),
            _P2,
        ),
        Check(
            "agreement",
            "agreement of state shift and marker score across the 75 features: n, rho, p",
            "75 / -0.43 / 6.5e-5",
            _agreement("marker_score", enough=True),
            _P2,
            "rho and p are those of all 80",
            claim=True,
        ),
        Check(
            "agreement_80",
            "the same across all 80",
            "80 / -0.43 / 6.5e-5",
            _agreement("marker_score", enough=False),
            _P2,
        ),
        Check(
            "agreement_probe",
            "state shift and probe across the 75",
            "",
            _agreement("delta_p_terminal", enough=True),
            _P2,
        ),
        Check(
            "agreement_time",
            "state shift and pseudotime across the 75",
            "",
            _agreement("delta_pseudotime", enough=True),
            _P2,
        ),
        Check(
            "probes",
            "accuracy of the probes: AUC 0.838, R2 0.33",
            "0.838 / 0.33",
            note="needs probes.npz and its cells, which were not published",
        ),
    ),
)
