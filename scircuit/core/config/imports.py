"""Options of the imports of published results, and of the download of gene sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scircuit.core.config.option import option


@dataclass(frozen=True, kw_only=True)
class ImportAtlasConfig:
    """``scircuit import atlas PATH``: import a published feature atlas (Geneformer, scGPT).

    The files are the plain or gzipped JSON that the atlas web page reads.
    """

    path: Path = option(help="folder of the atlas' JSON files")
    terms: Path | None = option(
        None,
        "term library (default: term_library.json, plain or gzipped, in the folder or beside it)",
    )
    model_name: str = option("", "model name in addresses (default: that of the recognised atlas)")
    dictionary_name: str = option(
        "", "dictionary set name in addresses (default: that of the recognised atlas)"
    )


@dataclass(frozen=True, kw_only=True)
class ImportMapConfig:
    """``scircuit import map PATH``: import the result files of the published exhaustive map."""

    path: Path = option(help="folder of the map's result files")
    model_name: str = option("geneformer-v2-316m", "model name in addresses")
    dictionary_name: str = option("k562-x4-k32", "dictionary set name in addresses")


@dataclass(frozen=True, kw_only=True)
class ImportEdgesConfig:
    """``scircuit import edges PATH``: import the edges of a circuit-tracing study.

    Formats: JSON, CSV (with or without cell counts), per-cell effects (npz).
    """

    path: Path = option(help="file, or folder of files of one study")
    model_name: str = option(help="model name in addresses")
    dictionary_name: str = option(help="dictionary set name in addresses")
    source_layer: int = option(-1, "0-based layer of the sources, if the files do not name it")
    condition: str = option("", "condition to import, if the files contain several")


@dataclass(frozen=True, kw_only=True)
class ImportGraphConfig:
    """``scircuit import graph PATH``: import an attribution graph.

    Formats: circuit-tracer (.pt or JSON), Neuronpedia (JSON).
    """

    path: Path = option(help="graph file")
    model_name: str = option("", "model name in addresses (default: what the file says)")
    dictionary_name: str = option(
        "", "dictionary set name in addresses (default: what the file says)"
    )


IMPORTS: dict[str, type] = {
    "atlas": ImportAtlasConfig,
    "map": ImportMapConfig,
    "edges": ImportEdgesConfig,
    "graph": ImportGraphConfig,
}


@dataclass(frozen=True, kw_only=True)
class GenesetsConfig:
    """``scircuit genesets fetch``: download gene-set libraries, each with its licence."""

    libraries: tuple[str, ...] = option(
        (),
        "names, such as KEGG_2021_Human (default: list the libraries and their licences)",
    )
    out: Path = option(Path("genesets"), "folder for the GMT files")
    accept_licence: bool = option(
        False, "confirm that you may use libraries whose licence restricts use"
    )
