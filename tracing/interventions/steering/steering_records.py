"""Records of steering: one Intervention a feature and coefficient with what it shifted, one STEERS
record a feature and readout with the dose slope, and a summary on the feature.

Families of q: genes, the genes of one condition; SHIFTED readouts, all conditions and readouts of
the run; STEERS, all features and readouts of the run. What weights alone fix is not tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from scircuit.core.address import Address
from scircuit.tracing.interventions.intervention_tables import interval, q_of, tables_of
from scircuit.tracing.interventions.steering.clean_survey import Survey
from scircuit.tracing.interventions.steering.slope_statistics import (
    NO_SLOPE,
    Slope,
    slope_of,
    slopes,
)
from scircuit.tracing.interventions.steering.steering_readouts import Readout
from scircuit.tracing.interventions.steering.switch_features import Switch
from scircuit.tracing.statistics.sign_flip import sign_flip_p

TOP_GENES = 10  # of either sign, stored per coefficient
Q = 0.05
KINDS = (
    "Intervention",
    "Feature-PART_OF-Intervention",
    "Intervention-SHIFTED-Gene",
    "Intervention-SHIFTED-Readout",
    "Feature-STEERS-Readout",
    "Readout",
    "Gene",
    "Feature",
    "Intervention-FROM-Run",
)


class Steered(NamedTuple):
    """One feature over the cells that were steered."""

    logits: np.ndarray  # [cells, doses, genes] changes along its own direction
    changes: np.ndarray  # [cells, directions, doses, readouts]; NaN where a cell has no value
    doses: np.ndarray  # [cells, doses]


class SteeringRecords:
    """Gathers the records of a run."""

    def __init__(
        self,
        run: str,
        mode: str,
        grid: np.ndarray,
        last: int,
        readouts: Sequence[Readout],
        random: int,
        found: Survey,
        names: list[tuple[str, str]],
        switches: Sequence[Switch],
    ) -> None:
        self.run, self.mode, self.grid, self.last = run, mode, grid, last
        self.readouts, self.random, self.survey, self.names = readouts, random, found, names
        self.switches = {(s.layer, s.index): s for s in switches}
        self.rows: dict[str, list[dict[str, Any]]] = {k: [] for k in KINDS}

    def add(self, feature: Address, steered: Steered) -> int:
        """Add one feature; gives its significant genes over all coefficients."""
        found = 0
        for i, coefficient in enumerate(self.grid):
            found += self._condition(feature, steered, i, float(coefficient))
        usable = ~self.survey.beyond(feature)
        measured = {}
        for k, readout in enumerate(self.readouts):
            fixed = feature.layer == self.last and readout.fixed_at_last
            slope = (
                slope_of(
                    steered.changes[:, :, usable, k], steered.doses[:, usable], self.random, fixed
                )
                if usable.any()
                else NO_SLOPE
            )
            measured[readout.name] = (slope, fixed)
            self.rows["Feature-STEERS-Readout"].append(
                {
                    "source": str(feature),
                    "target": self._readout_id(readout),
                    "run": self.run,
                    "slope": slope.slope,
                    "low": slope.low,
                    "high": slope.high,
                    "p": slope.p,
                    "q": None,
                    "p_random": slope.p_random,
                    "above_random": None if slope.p_random is None else slope.above_random,
                    "control": slope.control,
                    "matched": slope.matched,
                    "cells": slope.cells,
                    "closed_form": fixed,
                }
            )
        self._summary(feature, steered, usable, measured)
        return found

    def _condition(self, feature: Address, steered: Steered, i: int, coefficient: float) -> int:
        tag, word = ("", "x") if self.mode == "amplify" else (self.mode, self.mode)
        key = f"{self.run}/steer/{feature.short.replace('/', '')}@{tag}{coefficient:g}"
        logits = steered.logits[:, i]
        mean, low, high = interval(logits)
        p = sign_flip_p(logits.T) if len(logits) > 1 else np.full(len(mean), np.nan)
        q = q_of(p)
        dose = float(steered.doses[:, i].mean())
        shifts = [self._shift(feature, steered, i, k) for k in range(len(self.readouts))]
        own = shifts[0]
        ratio = self.survey.norm_ratio[feature][i]
        self.rows["Intervention"].append(
            {
                "id": key,
                "name": f"{feature.short} {word} {coefficient:g}",
                "verb": "steer",
                "order": 1,
                "coefficient": coefficient,
                "mode": self.mode,
                "target_layer": self.last,
                "cells": len(logits),
                "tested": int((~np.isnan(p)).sum()),
                "significant": int((q <= Q).sum()),
                "effect": own["effect"],
                "effect_low": own["low"],
                "effect_high": own["high"],
                "p": own["p"],
                "control": own["control"],
                "control_sd": own["control_sd"],
                "norm_ratio": ratio,
                "beyond_norm": bool(self.survey.beyond(feature)[i]),
                "run": self.run,
            }
        )
        self.rows["Intervention-FROM-Run"].append({"source": key, "target": self.run})
        self.rows["Feature-PART_OF-Intervention"].append(
            {
                "source": str(feature),
                "target": key,
                "run": self.run,
                "role": "steered",
                "coefficient": coefficient,
            }
        )
        order = np.argsort(mean, kind="stable")
        for g in dict.fromkeys([*order[::-1][:TOP_GENES], *order[:TOP_GENES]]):
            self.rows["Intervention-SHIFTED-Gene"].append(
                {
                    "source": key,
                    "target": self.names[g][0],
                    "run": self.run,
                    "dose": dose,
                    "effect": mean[g],
                    "low": low[g],
                    "high": high[g],
                    "p": p[g],
                    "q": q[g],
                }
            )
        for readout, shift in zip(self.readouts, shifts, strict=True):
            self.rows["Intervention-SHIFTED-Readout"].append(
                {
                    "source": key,
                    "target": self._readout_id(readout),
                    "run": self.run,
                    "dose": dose,
                    **shift,
                }
            )
        return int((q <= Q).sum())

    def _shift(self, feature: Address, steered: Steered, i: int, k: int) -> dict[str, Any]:
        """Mean change of one readout in one condition, with its controls."""
        fixed = feature.layer == self.last and self.readouts[k].fixed_at_last
        values = steered.changes[:, :, i, k]
        values = values[np.isfinite(values).all(1)]
        empty = dict.fromkeys(
            ("effect", "low", "high", "p", "q", "control", "control_sd", "matched"), None
        )
        if not len(values):
            return {**empty, "cells": 0, "closed_form": fixed}
        mean, low, high = interval(values)
        many, controls = len(values) > 1, mean[1 : 1 + self.random]
        return {
            "effect": mean[0],
            "low": low[0],
            "high": high[0],
            "p": sign_flip_p(values[None, :, 0])[0] if many and not fixed else None,
            "q": None,
            "control": controls.mean() if len(controls) else None,
            "control_sd": controls.std(ddof=1) if len(controls) > 1 else None,
            "matched": mean[1 + self.random] if len(mean) > 1 + self.random else None,
            "cells": len(values),
            "closed_form": fixed,
        }

    def _summary(
        self,
        feature: Address,
        steered: Steered,
        usable: np.ndarray,
        measured: dict[str, tuple[Slope, bool]],
    ) -> None:
        own = measured[self.readouts[0].name][0]
        top: list[int] = []
        if usable.any():
            each = slopes(steered.logits[:, usable], steered.doses[:, usable])
            by_gene = each[np.isfinite(each).all(1)].mean(0) if np.isfinite(each).any() else []
            top = [int(g) for g in np.argsort(-np.asarray(by_gene), kind="stable")[:TOP_GENES]]
        states = {
            name: s
            for name, (s, fixed) in measured.items()
            if name != self.readouts[0].name and not fixed and s.slope is not None and s.control
        }
        best = max(
            states, key=lambda n: abs(states[n].slope or 0) / (states[n].control or 1), default=None
        )
        switch = self.switches.get((feature.layer, feature.index))
        self.rows["Feature"].append(
            {
                "id": str(feature),
                "steering_slope": own.slope,
                "steering_low": own.low,
                "steering_high": own.high,
                "steering_p": own.p,
                "steering_p_random": own.p_random,
                "steering_gene": self.names[top[0]][1] if top else None,
                "steering_top_genes": [self.names[g][1] for g in top],
                "steering_control": own.control,
                "steering_matched": own.matched,
                "steering_state": best,
                "steering_state_slope": states[best].slope if best else None,
                "steering_norm_ratio": float(np.max(self.survey.norm_ratio[feature])),
                "steering_switch": (switch.kind or None) if switch else None,
                "steering_switch_d": switch.d if switch else None,
            }
        )

    def _readout_id(self, readout: Readout) -> str:
        return f"{self.run}/readout/{readout.name}"

    def tables(self) -> dict[str, pa.Table]:
        """The records as tables by kind."""
        for kind in ("Intervention-SHIFTED-Readout", "Feature-STEERS-Readout"):
            rows = self.rows[kind]
            p = np.array([np.nan if r["p"] is None else r["p"] for r in rows], dtype=float)
            for row, q in zip(rows, q_of(p), strict=True):
                row["q"] = q
        for readout in self.readouts:
            quality = readout.quality
            self.rows["Readout"].append(
                {
                    "id": self._readout_id(readout),
                    "name": readout.name,
                    "readout": readout.kind,
                    "unit": readout.unit,
                    "definition": readout.doc,
                    "measure": quality.measure if quality else None,
                    "accuracy": quality.value if quality else None,
                    "baseline": quality.baseline if quality else None,
                    "p": quality.p if quality else None,
                    "probe_cells": quality.cells if quality else None,
                    "probe_groups": quality.groups if quality else None,
                    "run": self.run,
                }
            )
        seen = {r["target"]: None for r in self.rows["Intervention-SHIFTED-Gene"]}
        symbol = dict(self.names)
        self.rows["Gene"] = [{"id": g, "name": symbol[g], "symbol": symbol[g]} for g in seen]
        return tables_of(self.rows)
