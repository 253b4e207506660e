"""``scircuit genesets fetch``: download gene-set libraries through gseapy, each with its licence.

This verb needs the network. A library is written completely as GMT or not at all, with a notice
(source, release, licence, sha256, date) that ``scircuit annotate --gmt`` reads.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from scircuit.core.build_config import build
from scircuit.core.config import GenesetsConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.files import atomic_path, sha256_file
from scircuit.core.progress import say

_HOST = "maayanlab.cloud"
_UNKNOWN = "unknown: read the terms of its source before you use or share it"


@dataclass(frozen=True)
class Licence:
    """Licence of the libraries of one source; `restricted` ones are fetched only if the user
    accepts the restriction.
    """

    pattern: str
    text: str
    restricted: bool
    example: str


LICENCES = (
    Licence(
        r"KEGG",
        "KEGG: web access is free for academic use; other use, and any sharing, needs a licence"
        " from its owners",
        True,
        "KEGG_2021_Human",
    ),
    Licence(
        r"GO_",
        "CC BY 4.0 (Gene Ontology Consortium; cite its release)",
        False,
        "GO_Biological_Process_2023",
    ),
    Licence(r"Reactome", "CC0 1.0 (Reactome annotation files)", False, "Reactome_2022"),
    Licence(r"WikiPathways?_", "CC0 1.0 (WikiPathways)", False, "WikiPathway_2023_Human"),
    Licence(r"MSigDB_Hallmark", "CC BY 4.0 (MSigDB)", False, "MSigDB_Hallmark_2020"),
    Licence(
        r"TRRUST",
        "CC BY-SA 4.0 (TRRUST v2; what you derive and share keeps this licence)",
        False,
        "TRRUST_Transcription_Factors_2019",
    ),
    Licence(r"CORUM", "CORUM: its licence does not allow redistribution", True, "CORUM"),
)


def licence_of(library: str) -> Licence:
    """Licence of a library by its name; unknown ones are restricted."""
    return next(
        (x for x in LICENCES if re.match(x.pattern, library, re.IGNORECASE)),
        Licence("", _UNKNOWN, True, library),
    )


@dataclass(frozen=True)
class Fetched:
    """One library that was fetched, as in its notice."""

    library: str
    file: str
    source: str
    release: str
    licence: str
    sha256: str
    terms: int
    genes: int
    fetched: str


@dataclass(frozen=True)
class GenesetsResult:
    """Libraries that were fetched; if none, examples of what can be fetched."""

    folder: Path
    libraries: tuple[Fetched, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        found: dict[str, object] = {
            "folder": str(self.folder),
            "fetched": [asdict(x) for x in self.libraries],
        }
        if not self.libraries:
            found["known"] = [
                {"example": x.example, "licence": x.text, "restricted": x.restricted}
                for x in LICENCES
            ]
        return found

    def __str__(self) -> str:
        if not self.libraries:
            width = max(len(x.example) for x in LICENCES)
            rows = [
                f"  {x.example:<{width}}  {'*' if x.restricted else ' '} {x.text}" for x in LICENCES
            ]
            return "\n".join(
                [
                    "libraries that can be fetched, for example:",
                    *rows,
                    f"  {'any other name':<{width}}  * {_UNKNOWN}",
                    "",
                    (
                        "* needs --accept-licence. Every library of Enrichr can be fetched by its"
                        " name; Enrichr's own terms of use apply as well."
                    ),
                    (
                        "GO Biological Process, Reactome and TRRUST are shipped: no network is"
                        " needed for them."
                    ),
                ]
            )
        lines = [
            f"{x.file}: {x.terms:,} terms, {x.genes:,} genes; licence: {x.licence}"
            for x in self.libraries
        ]
        use = " ".join(f"--gmt {quoted(x.file)}" for x in self.libraries)
        return "\n".join([*lines, f"use them: scircuit annotate {use}"])


def genesets(
    config: GenesetsConfig | None = None, *, quiet: bool = False, **options: object
) -> GenesetsResult:
    """Fetch gene-set libraries of Enrichr through gseapy; without names, list examples with their
    licences.

    Raises
    ------
    UserError
        If a licence restricts use and is not accepted, there is no network, or Enrichr has no such
        library. Nothing is written then.
    """
    config = config or build(GenesetsConfig, options)
    if wrong := [name for name in config.libraries if not re.fullmatch(r"[A-Za-z0-9._()-]+", name)]:
        raise UserError(
            f"{wrong[0]!r} is not the name of a library",
            "names are like KEGG_2021_Human; list examples: scircuit genesets fetch",
        )
    refused = [name for name in config.libraries if licence_of(name).restricted]
    if refused and not config.accept_licence:
        texts = "; ".join(f"{name}: {licence_of(name).text}" for name in refused)
        raise UserError(
            f"{len(refused)} of {len(config.libraries)} libraries restrict use, or may: {texts}",
            "if your use is allowed, add --accept-licence",
        )
    if config.libraries:
        _check_network()
    found = []
    for name in dict.fromkeys(config.libraries):
        if not quiet:
            say(f"  fetching {name}")
        found.append(_fetch(name, config.out))
    return GenesetsResult(config.out, tuple(found))


def _check_network() -> None:
    """Fail within seconds if the host cannot be reached; with a proxy this is not tested."""
    import socket
    import urllib.request

    if urllib.request.getproxies():
        return
    try:
        socket.create_connection((_HOST, 443), timeout=10).close()
    except OSError as error:
        raise _no_network(str(error)) from None


def _no_network(why: str) -> UserError:
    return UserError(
        f"cannot reach {_HOST} ({why})",
        "fetching needs a network: run this on a machine that has one and copy the folder here, or"
        " use a GMT file from elsewhere (scircuit annotate --gmt FILE)",
    )


def _download(name: str) -> dict[str, list[str]]:
    import gseapy
    import requests

    try:
        # gseapy leaves out terms of more than 2,000 genes unless told otherwise
        return gseapy.get_library(name, organism="Human", min_size=0, max_size=10**9)
    except requests.exceptions.RequestException as error:
        raise _no_network(type(error).__name__) from None
    except ValueError:
        raise UserError(
            f"Enrichr has no human library {name!r}",
            f"see the names on https://{_HOST}/Enrichr/#libraries, or list examples: scircuit"
            " genesets fetch",
        ) from None
    except OSError:
        raise
    except Exception as error:
        raise UserError(
            f"{name} could not be fetched: {error}",
            "try again later; Enrichr is sometimes not available",
        ) from None


def _fetch(name: str, folder: Path) -> Fetched:
    from scircuit.analysis.genesets.build_library import accession_of, notice_path
    from scircuit.analysis.genesets.library import Term
    from scircuit.analysis.genesets.readers import read_gmt, write_gmt

    content = _download(name)
    terms = [
        Term(*accession_of(title.strip(), ""), tuple(dict.fromkeys(genes)))
        for title, genes in content.items()
        if genes
    ]
    if not terms:
        raise UserError(
            f"Enrichr sent {name} with {len(content)} terms, none of them with a gene",
            "try again later",
        )
    path = folder / f"{name}.gmt"
    year = re.search(r"(?:19|20)\d\d", name)
    with atomic_path(path) as temporary:
        write_gmt(temporary, terms)
        library = read_gmt(temporary, name=name)  # a file that cannot be read back is not kept
        digest = sha256_file(temporary)
    found = Fetched(
        name,
        str(path),
        f"Enrichr ({_HOST}) through gseapy",
        year[0] if year else "not stated by the name",
        licence_of(name).text,
        digest,
        len(library.terms),
        len(library.genes),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with atomic_path(notice_path(path)) as temporary:
        temporary.write_text(json.dumps({**asdict(found), "file": path.name}, indent=1) + "\n")
    return found
