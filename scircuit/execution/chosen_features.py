"""The features of an intervention: the given addresses, or the top hubs of the newest analysis."""

from __future__ import annotations

import re

from scircuit.core.address import Address, listed, parse
from scircuit.core.errors import UserError, quoted
from scircuit.core.study import Manifest, Study
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of

_SHORT = re.compile(r"L\d{2,3}/F\d{4,7}")


def chosen_features(
    study: Study, trace: Manifest, given: tuple[str, ...], hubs: int, *, least: int = 1
) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    """Addresses, and the runs they came from.

    Parameters
    ----------
    study, trace
        The trace run of which the features are.
    given
        Addresses, or their last two parts (``L05/F0898``); commas and spaces separate several.
    hubs
        How many hubs to take where none are given.
    least
        Fewest features that the intervention needs.

    Raises
    ------
    UserError
        If an address is malformed, of another model or dictionary set, or not alive in the run;
        there is no analysis to take hubs from; or there are too few features.
    """
    if texts := listed(given):
        found, runs = _given(study, trace, texts), (trace.run,)
    else:
        found, runs = _hubs(study, trace, hubs)
    if len(found) < least:
        raise UserError(
            f"features chosen: {len(found)}; expected {least} or more",
            "give several, such as --features L05/F0898,L05/F0012, or --hubs 6",
        )
    return found, runs


def _given(study: Study, trace: Manifest, texts: tuple[str, ...]) -> tuple[Address, ...]:
    features = features_of(study, trace)
    alive = set(features.filter(features.column("alive")).column("id").to_pylist())
    # one run has one model and one dictionary set
    prefix = next(iter(alive), "").rsplit("/", 2)[0]
    found = []
    for text in texts:
        try:
            address = parse(f"{prefix}/{text}" if _SHORT.fullmatch(text) else text)
        except ValueError as error:
            raise UserError(
                str(error), "copy the address from a query, for example: scircuit query top_hubs"
            ) from error
        if str(address) not in alive:
            raise UserError(
                f"feature {address} does not fire in run {trace.run}, whose features are"
                f" {prefix}/L.../F...",
                "choose one that does: scircuit query top_hubs",
            )
        found.append(address)
    return tuple(dict.fromkeys(found))


def _hubs(study: Study, trace: Manifest, hubs: int) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    import pyarrow.compute as pc

    analysis = child_of(study, "analyse", trace.run)
    if analysis is None:
        raise UserError(
            "no features were given, and there is no analysis to take hubs from",
            f"give --features, or run: scircuit analyse --study {quoted(study.root)}",
        )
    table = features_of(study, analysis)
    ranked = table.filter(pc.is_valid(table.column("hub_rank"))).sort_by("hub_rank").slice(0, hubs)  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(parse(text) for text in ranked.column("id").to_pylist()), (trace.run, analysis.run)
