"""Published counts of the atlases, and records of an import in the form of a plain reading."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa

from tests.support.atlas_plain import Plain, accession, load

GENEFORMER, SCGPT = "geneformer", "scgpt"
NAMES = {
    GENEFORMER: "geneformer-v2-316m/k562-x4-k32",
    SCGPT: "scgpt-whole-human/tabula-sapiens-x4-k32",
}
POSITIONS = {GENEFORMER: 4_056_351, SCGPT: 3_561_832}
# Atlas specification, 4.1 and 4.2, one line per layer: alive, annotated, features with a tested
# term (-: the annotations are lost), entries, modules, features in them, cell-type and tissue
# associations, alive features with fewer than 100 firings
LAYER_COUNTS = {
    GENEFORMER: """
        4608 2702    - 24303  6 4577 10424 4469   2
        4606 2646    - 23437  8 4562  9644 4455   9
        4601 2555    - 23698  7 4536 10393 4553  23
        4595 2592    - 22232  8 4518 10014 4466  30
        4583 2469 2454 20188  9 4502  9570 4476  33
        4576 2383 2374 18105 12 4472  9138 4350  44
        4580 2248 2234 16926  7 4458  9783 4501  52
        4591 2189 2176 15681  8 4439  9990 4553  83
        4586 2084 2069 15905  7 4478 10031 4511  70
        4595 2313 2295 17161  7 4535  9764 4620  48
        4602 2566 2552 19831  9 4571  9851 4625  28
        4598 2583    - 20201  8 4565  8811 4531  30
        4592 2441 2425 19350  7 4567  8171 4402  23
        4583 2323 2307 17568  7 4561  8394 4377  19
        4568 2311 2294 17967  8 4543  8373 4521  21
        4543 2228 2216 15755  8 4461  7227 4105  77
        4538 2481 2468 16263  8 4358  7788 3974 174
        4580 2154 2140 15982  7 4474 10025 4295 105
    """,
    SCGPT: """
        2027 662 645 5283 6 1937 8192 2232  77
        2035 627 616 4772 6 1915 7733 2172 108
        2038 585 565 4383 5 1915 7217 2123 108
        2045 647 627 4708 7 1965 6620 2033  55
        2048 623 598 4206 6 1969 6425 2049  55
        2048 607 585 4305 7 1958 6783 2087  54
        2048 591 573 4185 7 1963 6610 2134  46
        2048 664 646 4439 6 1895 6418 2130 132
        2048 591 568 4232 7 1804 6567 2129 221
        2047 694 678 4299 5 1627 6712 2297 397
        2047 649 631 4471 7 1349 6635 2547 665
        2048 655 636 4399 7 1347 6717 2600 667
    """,
}
# 3.2, where all readable files are there
PUBLISHED = {
    GENEFORMER: {
        "Feature": 82944,
        "Gene": 6332,
        "Feature-LOADS_ON-Gene": 602_666 + 259_323,
        "Feature-ENRICHED_FOR-Term": 223_729,
        "Feature-MEMBER_OF-Module": 81_177 + 222,
        "Feature-ACTIVE_IN-CellType": 167_391,
        "Feature-ACTIVE_IN-Tissue": 79_784,
        "Feature-CO_OCCURS-Feature": 7500,
        "Feature-RESPONDS_TO-Perturbation": 406,
        "Module": 141 + 57,
        "CellType": 63,
        "Tissue": 3,
        "Perturbation": 100,
        "Dictionary": 18,
        "Dictionary-NEXT-Dictionary": 17,
    },
    SCGPT: {
        "Feature": 24576,
        "Feature-LOADS_ON-Gene": 145_086 + 84_156,
        "Feature-ENRICHED_FOR-Term": 52_677,
        "Feature-MEMBER_OF-Module": 21_644,
        "Feature-ACTIVE_IN-CellType": 82_629,
        "Feature-ACTIVE_IN-Tissue": 26_533,
        "Feature-CO_OCCURS-Feature": 558,
        "Module": 76,
        "Dictionary": 12,
    },
}


def address(name: str, layer: int, index: int) -> str:
    return f"{NAMES[name]}/L{layer:02d}/F{index:04d}"


def column(table: pa.Table, *names: str) -> list[tuple]:
    return list(zip(*(table.column(n).to_pylist() for n in names), strict=True))


def features_of(imported: SimpleNamespace) -> dict[str, dict]:
    return {row["id"]: row for row in imported.tables["Feature"].to_pylist()}


def keyed(table: pa.Table, *names: str) -> dict[tuple, tuple]:
    """(source, target) -> values of these columns."""
    return dict(zip(column(table, "source", "target"), column(table, *names), strict=True))


def record_counts(plain: Plain, folder: Path, library: dict) -> dict[str, int]:
    """Records of each kind that the files of an atlas and its term library imply."""
    named = set(plain.features)
    for m in plain.modules:
        named |= {(m["layer"], f) for f in m["features"]}
    for a, i, b, j, _ in plain.links:
        named |= {(a, i), (b, j)}
    named |= {(at, f) for at, c in plain.clusters for f in c["features"]}
    patched = plain.causal.get("layer", 11)
    named |= {(patched, row["i"]) for row in plain.causal["features"]}
    members = {
        (g, accession(*key.split("|", 1)))
        for key, one in library.items()
        for g in one["genes_seen"]
    }
    upper = {s.upper() for s in plain.gene_symbols}
    types = load(folder, f"layer_{plain.present['celltypes'][0]:02d}_celltypes.json").get(
        "cell_type_meta", {}
    )
    expected = {
        "Model": 1,
        "Dictionary": plain.layers,
        "Dictionary-OF-Model": plain.layers,
        "Dictionary-NEXT-Dictionary": plain.layers - 1,
        "Feature": len(named),
        "Feature-OF-Dictionary": len(named),
        "Gene": len(plain.gene_symbols) + len({g for g, _ in members} - upper),
        "Feature-LOADS_ON-Gene": sum(map(len, plain.genes.values())),
        "Feature-ENRICHED_FOR-Term": len(plain.terms),
        "Term": len({t for _, t in members} | {accession(row[2], row[3]) for row in plain.terms}),
        "Gene-MEMBER_OF-Term": len(members),
        "GeneSetLibrary": 3,
        "Term-MEMBER_OF-GeneSetLibrary": len(library),
        "Module": len(plain.modules) + len(plain.clusters),
        "Feature-MEMBER_OF-Module": (
            sum(m["n"] for m in plain.modules) + sum(len(c["features"]) for _, c in plain.clusters)
        ),
        "CellType": len({row[2] for row in plain.active["ct"]} | set(types)),
        "Tissue": len({row[2] for row in plain.active["ti"]}),
        "Feature-ACTIVE_IN-CellType": len(plain.active["ct"]),
        "Feature-ACTIVE_IN-Tissue": len(plain.active["ti"]),
        "Feature-CO_OCCURS-Feature": len(plain.links),
        "Perturbation": len(plain.perturbations),
    }
    if plain.perturbations:
        expected["Feature-RESPONDS_TO-Perturbation"] = sum(
            len(t["top"]) for t in plain.perturbations
        )
    return expected
