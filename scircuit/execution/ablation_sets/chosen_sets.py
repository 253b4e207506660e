"""The sets of an ablate run: those given, all of the top hubs, or classes drawn from the features
that the trace run found alive, with the labels of its annotation.
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.address import Address, listed, parse
from scircuit.core.config import AblateConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.study import Manifest, Study
from scircuit.execution.ablation_sets.keyword_pathways import (
    RANDOM_SETS,
    pathway_of,
    published_sets,
)
from scircuit.execution.chosen_features import chosen_features
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of

if TYPE_CHECKING:
    from scircuit.tracing.interventions.ablation import Candidate, FeatureSet

MOST_SETS = 20_000
LARGEST, LEAST_CELLS = 6, 6


class ChosenSets(NamedTuple):
    """Sets, their features, the runs they came from, and how they were drawn.

    Attributes
    ----------
    features
        Addresses of all features, as they were chosen.
    all_of
        Whether the sets are all sets of the features.
    """

    sets: list[FeatureSet]
    features: list[str]
    parents: tuple[str, ...]
    notes: list[str]
    all_of: bool = False

    @property
    def across(self) -> bool:
        """Whether a set has members at several layers."""
        return any(len({f.layer for f in s.members}) > 1 for s in self.sets)


def chosen_sets(study: Study, trace: Manifest, config: AblateConfig) -> ChosenSets:
    """Sets of an ablate run, by its options.

    Raises
    ------
    UserError
        If options contradict each other, features are unknown, the run has no annotation where one
        is needed, or there are too few features or too many sets.
    """
    if not 2 <= config.order <= LARGEST:
        raise UserError(
            f"--order {config.order}; expected 2 to {LARGEST}: a set of k features has 2^k - 1"
            " conditions",
            "choose a smaller order",
        )
    if config.layers and len(config.layers) != config.order:
        raise UserError(
            f"--layers names {len(config.layers)} layer(s) for sets of {config.order} features",
            "give one layer for each member, such as --order 3 --layers 0,5,11",
        )
    if listed(config.features) or config.sampler == "hubs":
        return _of_features(study, trace, config)
    return _sampled(study, trace, config)


def _of_features(study: Study, trace: Manifest, config: AblateConfig) -> ChosenSets:
    """Sets as given, or all of the given features or hubs."""
    from scircuit.tracing.interventions.ablation import FeatureSet

    texts = listed(config.features)
    joined = [text for text in texts if "+" in text]
    if joined and len(joined) < len(texts):
        alone = next(text for text in texts if "+" not in text)
        raise UserError(
            f"{len(joined)} set(s) joined by + and single features such as {alone}",
            "join all members of a set by +, or give features alone to ablate all their sets",
        )
    if joined:
        return _given(study, trace, joined)
    kind = "given" if texts else "hubs"
    hubs = config.hubs if not config.layers else 10**6
    found, parents = chosen_features(study, trace, texts, hubs, least=config.order)
    number: float
    if config.layers:
        slots = [[f for f in found if f.layer == t] for t in sorted(config.layers)]
        if not texts:
            slots = [own[: config.hubs] for own in slots]
        if not all(slots):
            missing = next(
                t for t, own in zip(sorted(config.layers), slots, strict=True) if not own
            )
            raise UserError(
                f"no {'given feature' if texts else 'hub'} is in layer {missing}",
                "choose other --layers, or trace that layer as a source",
            )
        number = float(np.prod([float(len(own)) for own in slots]))
    else:
        slots, number = [], comb(len(found), config.order)
    if number > MOST_SETS:
        raise UserError(
            f"{len(found)} features make {number:,.0f} sets of {config.order}; at most"
            f" {MOST_SETS:,} are ablated",
            "choose fewer --hubs or --features, or a smaller --order",
        )
    if slots:
        members = [m for m in product(*slots) if len(set(m)) == len(m)]
        members = list(dict.fromkeys(_ordered(m) for m in members))
    else:
        members = [_ordered(m) for m in combinations(found, config.order)]
    if not members:
        raise UserError(
            f"{len(found)} feature(s) make no set of {config.order} different ones",
            "give more features, or choose more --hubs",
        )
    sets = [FeatureSet(m, kind) for m in members]
    return ChosenSets(sets, [str(f) for f in found], parents, [], all_of=not config.layers)


def _given(study: Study, trace: Manifest, joined: list[str]) -> ChosenSets:
    """Sets whose members are joined by +."""
    from scircuit.tracing.interventions.ablation import FeatureSet

    parents: tuple[str, ...] = ()
    found = []
    for text in joined:
        names = [name for name in text.split("+") if name]
        members, parents = chosen_features(study, trace, tuple(names), 0, least=2)
        if len(members) < len(names):
            raise UserError(
                f"the set {text} names {len(names)} features, {len(members)} of them different",
                "name every feature of a set once",
            )
        if len(members) > LARGEST:
            raise UserError(
                f"the set {text} has {len(members)} features, {2 ** len(members) - 1} conditions;"
                f" expected at most {LARGEST} features",
                "give smaller sets",
            )
        found.append(FeatureSet(_ordered(members)))
    return _drawn(list(dict.fromkeys(found)), parents, [])


def _sampled(study: Study, trace: Manifest, config: AblateConfig) -> ChosenSets:
    """Classes of sets from the features that are alive."""
    from scircuit.tracing.interventions.ablation import sample_classes

    if config.sets < 1:
        raise UserError(f"--sets {config.sets}; expected 1 or more", "correct --sets")
    candidates, parents = _candidates(study, trace, config.sampler)
    slots = list(config.layers) or _slots(trace, config)
    if config.sampler == "random":
        drawn = sample_classes(candidates, slots, config.sets, ("random",), config.seed)
        return _drawn(drawn.sets, parents, drawn.notes)
    if config.sampler == "pathway":
        drawn = sample_classes(candidates, slots, config.sets, seed=config.seed)
        return _drawn(drawn.sets, parents, drawn.notes)
    found = published_sets(candidates, slots)
    if not found:
        raise UserError(
            f"in layers {', '.join(map(str, slots))} no published pathway has a feature for every"
            " member",
            "choose other --layers, or --sampler pathway, which takes any label",
        )
    used = {f for s in found for f in s.members}
    left = [c for c in candidates if c.address not in used]
    rates = {c.address: c.firing_rate for c in candidates}
    template = [float(np.median([rates[s.members[i]] for s in found])) for i in range(len(slots))]
    drawn = sample_classes(left, slots, RANDOM_SETS, ("random",), config.seed, templates=[template])
    counts = {k: sum(s.kind == k for s in found) for k in ("same", "cross")}
    notes = [f"{n} {k} sets by the published recipes" for k, n in counts.items()]
    return _drawn(found + drawn.sets, parents, [*notes, *drawn.notes])


def _drawn(sets: list[FeatureSet], parents: tuple[str, ...], notes: list[str]) -> ChosenSets:
    """Sets that their members name."""
    features = list(dict.fromkeys(str(f) for s in sets for f in s.members))
    return ChosenSets(sets, features, parents, notes)


def _candidates(
    study: Study, trace: Manifest, sampler: str
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Features that are active in six cells or more, with their labels or published pathways."""
    from scircuit.tracing.interventions.ablation import Candidate

    labels: dict[str, str] = {}
    parents = (trace.run,)
    annotation = child_of(study, "annotate", trace.run)
    if annotation is not None:
        parents = (trace.run, annotation.run)
        for row in features_of(study, annotation).select(["id", "label"]).to_pylist():
            labels[row["id"]] = row["label"] or ""
    elif sampler != "random":
        raise UserError(
            f"sampler {sampler} needs the labels of the features, and run {trace.run} has no"
            " annotation",
            f"run: scircuit annotate --study {quoted(study.root)}; or use --sampler random",
        )
    if sampler == "published":
        labels = {f: pathway_of(label) for f, label in labels.items()}
    columns = ["id", "firing_rate", "cells_active"]
    found = [
        Candidate(parse(r["id"]), r["firing_rate"], labels.get(r["id"], ""))
        for r in features_of(study, trace).select(columns).to_pylist()
        if (r["cells_active"] or 0) >= LEAST_CELLS and r["firing_rate"]
    ]
    return found, parents


def _slots(trace: Manifest, config: AblateConfig) -> list[int]:
    """Layers of the members where none are given: the source layers of the trace run, spread."""
    sources = sorted({int(t) for t in trace.config.get("source_layers") or ()})
    if not sources:
        raise UserError(
            f"run {trace.run} does not say its source layers", "give --layers, one for each member"
        )
    at = np.linspace(0, len(sources) - 1, config.order)
    return [sources[int(i)] for i in np.floor(at + 0.5)]


def _ordered(members: tuple[Address, ...]) -> tuple[Address, ...]:
    return tuple(sorted(members, key=lambda f: (f.layer, f.index)))
