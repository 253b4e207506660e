"""The later triplets of the published map (P3): twelve joint ablations in three classes.

``summary.json`` has the ratios and counts of each; ``triplets.json`` defines the same triplets.
Counts must add up, and class totals must be the sums of their triplets. Effects of single cells
(``deltas/*.npz``) are not read: each condition was measured at its own positions, so that contrasts
between conditions are not defined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.ingest.importers.exhaustive_map.map_interventions import (
    LAST_LAYER,
    Interventions,
)
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    read_json,
    whole_number,
)

FOLDER = "revision/P3_triplets"
_COUNTS = ("n_subadditive", "n_additive", "n_superadditive")
_MARGINAL = "marginal_C_given_AB_median"
_CLASSES = {"same_pathway": "same", "cross_pathway": "cross", "random": "random"}
_PAIRS = {"AB": (0, 1), "AC": (0, 2), "BC": (1, 2)}
_FIELDS = (
    *("type", "pathway", "id", "features", "n_targets", "threeway_ratio", "pairwise_ratios"),
    *(*_COUNTS, "higher_order_interaction_median"),
)


def read_later_triplets(
    found: Interventions, model: str, dictionary: str, files: Mapping[str, Path]
) -> None:
    """Read the triplets of ``summary.json``, and check them against ``triplets.json``.

    Raises
    ------
    UserError
        If a file is damaged, has another layout, or contradicts another.
    """
    path = files.get("summary.json")
    if path is None:
        return
    data = json_object(read_json(path), ("per_triplet", "groups"), f"P3 {path.name}")
    known = {row["id"] for row in found.rows["Intervention"]}
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    partners: dict[Key, set[Key]] = defaultdict(set)
    names = []
    for listed in json_list(data["per_triplet"], f"P3 {path.name}: per_triplet"):
        name, kind, counts = _triplet(found, model, dictionary, listed, known, partners)
        names.append(name)
        totals[kind] = [a + b for a, b in zip(totals[kind], counts, strict=True)]
    _check_groups(data["groups"], totals)
    if definitions := files.get("triplets.json"):
        _check_definitions(definitions, names)
    for (layer, index), others in partners.items():
        row = found.features[layer, index]
        before = row.get("ablation_partners")
        row["ablation_partners"] = len(others) + (before if isinstance(before, int) else 0)
    targets, more = sum(map(sum, totals.values())), sum(t[2] for t in totals.values())
    found.findings["later_triplets"] = {
        "number": len(names),
        "targets": targets,
        "superadditive": more,
        "by_class": {kind: dict(zip(_COUNTS, t, strict=True)) for kind, t in totals.items()},
    }
    found.sentences.append(
        f"{len(names)} later joint ablations of three features: {more} of {targets:,} targets"
        " superadditive by the published ratio, which has no null"
    )


def _triplet(
    found: Interventions,
    model: str,
    dictionary: str,
    listed: Json,
    known: set[object],
    partners: dict[Key, set[Key]],
) -> tuple[str, str, list[int]]:
    data = json_object(listed, _FIELDS, "P3 summary.json: a triplet")
    where = f"P3 triplet {data['id']}"
    kind = str(data["type"])
    if kind not in _CLASSES:
        raise UserError(
            f"{where} is of type {kind!r}, expected {', '.join(_CLASSES)}",
            "check that it is the right file",
        )
    members = _members(data["features"], model, dictionary, where)
    targets = whole_number(data["n_targets"], f"{where}: n_targets")
    counts = [whole_number(data[k], f"{where}: {k}") for k in _COUNTS]
    if sum(counts) != targets:
        raise UserError(
            f"{where}: {' + '.join(map(str, counts))} targets are not the stated {targets}",
            "the file is damaged: fetch it again",
        )
    pairs = json_object(data["pairwise_ratios"], tuple(_PAIRS), f"{where}: pairwise_ratios")
    joint = "+".join(a.short.replace("/", "") for a in members)
    whole = f"{model}/{dictionary}/ablate/{joint}/L{LAST_LAYER:02d}"
    if whole in known:
        raise UserError(
            f"{where} is a triplet of the first release too",
            "import the two releases under different names (--dictionary-name)",
        )
    roles: dict[str, tuple[int, ...]] = {**_PAIRS, "ABC": (0, 1, 2)}
    for letters, chosen in roles.items():
        ratio = data["threeway_ratio"] if letters == "ABC" else pairs[letters]
        row: dict[str, object] = {
            "id": whole if letters == "ABC" else f"{whole}/{letters}",
            "set": whole,
            "name": " + ".join(members[i].short for i in chosen),
            "verb": "ablate",
            "order": len(letters),
            "coefficient": 0.0,
            "target_layer": LAST_LAYER,
            "tested": targets,
            "ratio": number(ratio, f"{where}: ratio {letters}"),
            "set_class": _CLASSES[kind],
            "pathway": str(data["pathway"]),
        }
        if letters == "ABC":
            interaction = number(data["higher_order_interaction_median"], f"{where}: interaction")
            row |= {"higher_order": interaction}
            if _MARGINAL in data:
                row |= {"marginal": number(data[_MARGINAL], f"{where}: marginal")}
            row |= {k.removeprefix("n_"): n for k, n in zip(_COUNTS, counts, strict=True)}
        found.rows["Intervention"].append(row)
        for letter, i in zip(letters, chosen, strict=True):
            found.rows["Feature-PART_OF-Intervention"].append(
                {
                    "source": str(members[i]),
                    "target": row["id"],
                    "role": letter,
                    "coefficient": 0.0,
                }
            )
    for a in members:
        key = (a.layer, a.index)
        partners[key] |= {(b.layer, b.index) for b in members} - {key}
    return str(data["id"]), kind, counts


def _members(value: Json, model: str, dictionary: str, where: str) -> list[Address]:
    rows = json_list(value, f"{where}: features")
    if len(rows) != 3:
        raise UserError(
            f"{where} has {len(rows)} features, expected three", "check that it is the right file"
        )
    members = []
    for row in rows:
        pair = json_list(row, f"{where}: a feature")
        if len(pair) < 2:
            raise UserError(
                f"{where}: a feature is {pair!r}, expected layer, index and label",
                "check that it is the right file",
            )
        layer, index = (whole_number(v, f"{where}: a feature") for v in pair[:2])
        if layer >= LAST_LAYER:
            raise UserError(
                f"{where} ablates layer {layer}, which is not before layer {LAST_LAYER}, where its"
                " effect is read",
                "check that it is the right file",
            )
        members.append(Address(model, dictionary, layer, index))
    return members


def _check_groups(groups: Json, totals: Mapping[str, list[int]]) -> None:
    for kind, group in json_object(groups, (), "P3 summary.json: groups").items():
        stated = json_object(group, _COUNTS, f"P3 summary.json: group {kind}")
        counts = [whole_number(stated[k], f"P3 summary.json: {kind}: {k}") for k in _COUNTS]
        if counts != totals.get(kind, [0, 0, 0]):
            raise UserError(
                f"P3 summary.json: group {kind} states {counts}, its triplets sum to"
                f" {totals.get(kind, [0, 0, 0])}",
                "the file is damaged: fetch it again",
            )


def _check_definitions(path: Path, names: list[str]) -> None:
    defined = [
        str(json_object(t, ("id", "type", "features"), f"P3 {path.name}: a triplet")["id"])
        for t in json_list(read_json(path), f"P3 {path.name}")
    ]
    if sorted(defined) != sorted(names):
        other = sorted({*defined} ^ {*names}) or ["one twice"]
        raise UserError(
            f"P3 {path.name} and summary.json have different triplets, such as {other[0]}",
            "the files are of different runs: fetch both again",
        )
