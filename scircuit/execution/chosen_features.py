"""The features of an intervention: the given addresses, or the top hubs of the newest analysis."""

from __future__ import annotations

from scircuit.core.address import Address, parse
from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of


def chosen_features(
    study: Study, trace: Manifest, config: TraceConfig, given: tuple[str, ...], hubs: int
) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    """Addresses, and the runs they came from.

    Raises
    ------
    UserError
        If an address is malformed, of another model or dictionary set, or not alive in the run; or
        there is no analysis to take hubs from.
    """
    import pyarrow.compute as pc

    if given:
        features = features_of(study, trace)
        alive = set(features.filter(features.column("alive")).column("id").to_pylist())
        for text in given:
            try:
                parse(text)
            except ValueError as error:
                raise UserError(
                    str(error),
                    "copy the address from a query, for example: scircuit query top_hubs",
                ) from error
            if text not in alive:
                raise UserError(
                    f"feature {text} does not fire in run {trace.run} (model {config.model_name},"
                    f" dictionaries {config.dictionary_name})",
                    "choose one that does: scircuit query top_hubs",
                )
        return tuple(parse(text) for text in given), (trace.run,)
    analysis = child_of(study, "analyse", trace.run)
    if analysis is None:
        raise UserError(
            "no features were given, and there is no analysis to take hubs from",
            f"give --features, or run: scircuit analyse --study {study.root}",
        )
    table = features_of(study, analysis)
    ranked = table.filter(pc.is_valid(table.column("hub_rank"))).sort_by("hub_rank").slice(0, hubs)  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(parse(text) for text in ranked.column("id").to_pylist()), (trace.run, analysis.run)
