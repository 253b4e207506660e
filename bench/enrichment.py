"""How fast over-representation of a whole atlas is tested, against gseapy on a sample of the same
lists; one JSON line.

    python bench/enrichment.py --json [--lists N] [--sample N] [--null]

The lists are the top-20 genes of the two published atlases, repeated to 107,050; the libraries are
GO, KEGG, Reactome and the target sets of TRRUST. Timed is the test itself from lists of symbols on:
matrices, overlaps, exact p of every pair, Benjamini-Hochberg over every list x every term, and
every pair below q = 0.05. gseapy (`gseapy.enrich`, list background) is timed in the same run on the
first lists of the sample, and its p compared with these. The matched null that calibrates the q
values is a question of its own: ``--null`` times one matched random list of each feature."""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.gseapy_reference import gseapy_frame, gseapy_sets
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.matched_null import detection_bins, draw_matched
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps
from scircuit.analysis.enrichment.pair_tests import best_of_random, test_lists
from scircuit.analysis.genesets.readers import read_gmt
from scircuit.analysis.genesets.trrust import read_trrust

ROOT = Path(__file__).resolve().parent.parent

DATA = ROOT.parent / "shared" / "data"
LISTS, SPEEDUP, SECONDS, GIGABYTES = 107_050, 500, 30.0, 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--lists", type=int, default=LISTS, help="gene lists")
    parser.add_argument("--sample", type=int, default=20, help="lists that gseapy tests as well")
    parser.add_argument(
        "--null", action="store_true", help="also time one matched random list of each feature"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=(
            f"exit 1 unless {SPEEDUP} times faster, below {SECONDS:g} s and below {GIGABYTES:g} GB"
        ),
    )
    options = parser.parse_args()
    result = measure(options.lists, options.sample, options.null)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:>20}: {value}" for name, value in result.items()))
    good = (
        result["speedup_vs_gseapy"] >= SPEEDUP
        and result["seconds"] < SECONDS
        and result["peak_gb"] < GIGABYTES
        and result["max_rel_p_diff"] < 1e-9
    )
    return int(options.check and not good)


def measure(count: int, sample: int, null: bool) -> dict[str, Any]:
    lists = atlas_lists(count)
    folder = DATA / "genesets"
    libraries = [
        read_gmt(folder / "GO_Biological_Process_2021.gmt", name="GO"),
        read_gmt(folder / "KEGG_2021_Human.gmt", name="KEGG"),
        read_gmt(folder / "ReactomePathways.gmt", name="Reactome"),
        read_trrust(folder / "trrust_rawdata.human.tsv").library(),
    ]
    background = sorted(
        {g.upper() for genes in lists for g in genes}
        | set().union(*(lib.genes for lib in libraries))
    )
    began = time.perf_counter()
    incidence = build(libraries, background)
    rows = incidence.rows(lists)
    tested = test_lists(rows, incidence, keep=0.05)
    q = tested.tally[0].q(tested.hits.p, tested.lists * tested.terms[0])
    found = int((q <= 0.05).sum())
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    say(
        f"{count:,} lists x {tested.terms[0]:,} terms in {seconds:.1f} s; gseapy on {sample}"
        " lists ..."
    )
    theirs, worst, compared = against_gseapy(rows, incidence, sample)
    result = {
        "lists": count,
        "terms": tested.terms[0],
        "background": len(incidence.genes),
        "pairs_with_overlap": tested.tally[0].tests,
        "pairs_at_q": found,
        "seconds": round(seconds, 2),
        "lists_per_s": round(count / seconds),
        "peak_gb": round(peak, 3),
        "gseapy_lists_per_s": round(sample / theirs, 2),
        "speedup_vs_gseapy": round(count / seconds / (sample / theirs)),
        "max_rel_p_diff": worst,
        "p_compared": compared,
    }
    if null:
        frequency = np.bincount(rows.indices, minlength=len(incidence.genes)).astype(float)
        began = time.perf_counter()
        table = TailTable(np.diff(rows.indptr), incidence.sizes, len(incidence.genes))
        best_of_random(
            draw_matched(rows, detection_bins(frequency), np.random.default_rng(0)),
            incidence,
            table,
            0.05,
        )
        result["null_seconds_per_draw"] = round(time.perf_counter() - began, 2)
        result["peak_gb_with_null"] = round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3
        )
    return result


def atlas_lists(count: int) -> list[list[str]]:
    """Top-20 genes of every feature with a whole list, repeated to `count`."""
    found: list[list[str]] = []
    for path in sorted((DATA / "atlas").glob("*/layer_*_annotations.json.gz")):
        found += [
            [g["n"] for g in entry["genes"]]
            for entry in json.loads(gzip.decompress(path.read_bytes())).values()
        ]
    if not found:
        raise SystemExit(f"no atlas under {DATA}: this benchmark needs the published gene lists")
    return [found[i % len(found)] for i in range(count)]


def against_gseapy(rows: Any, incidence: Any, sample: int) -> tuple[float, float, int]:
    """Seconds of gseapy for the first lists, largest relative difference of a p, and p compared."""
    mine = {
        (int(r), int(c)): float(p)
        for r, c, _, p in zip(*collect(overlaps(rows[:sample], incidence)), strict=True)
    }
    sets = gseapy_sets(incidence)
    gseapy_frame(rows, incidence, 0, sets)  # its import is not part of the time
    spent, theirs = 0.0, {}
    for r in range(sample):
        began = time.perf_counter()
        frame: Any = gseapy_frame(rows, incidence, r, sets)
        spent += time.perf_counter() - began
        if frame is not None:
            theirs |= {
                (r, int(term)): float(p)
                for term, p in zip(frame["Term"], frame["P-value"], strict=True)
            }
    if set(mine) != set(theirs):
        raise SystemExit(f"gseapy finds {len(theirs)} overlaps, the kernel {len(mine)}")
    return spent, max(abs(mine[pair] / p - 1) for pair, p in theirs.items()), len(theirs)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
