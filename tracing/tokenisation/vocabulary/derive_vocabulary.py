"""Derive the packaged vocabulary from the three published dictionaries, converted to plain JSON.

``python -m scircuit.tracing.tokenisation.vocabulary.derive_vocabulary FOLDER`` reads token, median
and symbol dictionaries (``geneformer_gc104M_*.json.gz``) and writes ``geneformer_v2.json.gz``:
Ensembl numbers in token order, symbol and median of each, and the symbols of human genes without a
token. The same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from scircuit.tracing.tokenisation.vocabulary import SPECIALS


def derive(folder: Path) -> bytes:
    """Compressed JSON of the packaged vocabulary.

    Raises
    ------
    ValueError
        If the three dictionaries do not fit each other.
    """

    def read(name: str) -> dict:
        return json.loads(
            gzip.decompress((folder / f"geneformer_gc104M_{name}.json.gz").read_bytes())
        )

    token, median, ensembl_of = (
        read("token_dictionary"),
        read("gene_median"),
        read("symbol_to_ensembl"),
    )
    order = sorted(token, key=token.__getitem__)
    if tuple(order[:4]) != SPECIALS or [token[t] for t in order] != list(range(len(order))):
        raise ValueError(
            f"token ids are not contiguous from {SPECIALS}: found {order[:4]}, {len(order)} tokens"
        )
    genes = order[len(SPECIALS) :]
    symbol_of = {gene: symbol for symbol, gene in ensembl_of.items() if gene in token}
    lacking = [g for g in genes if g not in symbol_of or g not in median]
    if lacking:
        raise ValueError(f"{len(lacking)} genes lack a symbol or a median, such as {lacking[:3]}")
    data = {
        "name": "geneformer-v2",
        "ensembl": [int(g.removeprefix("ENSG")) for g in genes],
        "symbol": [symbol_of[g] for g in genes],
        "median": [median[g] for g in genes],
        "outside": {
            s: int(g.removeprefix("ENSG")) for s, g in sorted(ensembl_of.items()) if g not in token
        },
    }
    return gzip.compress(json.dumps(data, separators=(",", ":")).encode(), compresslevel=9, mtime=0)


if __name__ == "__main__":
    target = Path(__file__).parent / "geneformer_v2.json.gz"
    target.write_bytes(derive(Path(sys.argv[1])))
    print(f"{target.name}: {target.stat().st_size:,} bytes", file=sys.stderr)
