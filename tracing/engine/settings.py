"""The settings of a trace, resolved once where a run begins.

`resolve_settings` checks the options of a `TraceConfig` against the model and the dictionaries and
parses them: layers in order, the context as a number, memory in bytes, names as in addresses. All
of the engine reads the result, and nothing of it reads an option again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.address import slug
from scircuit.core.config import TraceConfig
from scircuit.core.context import EXACT, parse_context
from scircuit.core.edge_rules import MAX_Q
from scircuit.core.errors import UserError
from scircuit.tracing.direction_null.direction_tests import smallest_p
from scircuit.tracing.engine.effect_rules import EffectRules
from scircuit.tracing.engine.layers import check_layers, later_layers
from scircuit.tracing.hardware.memory_plan import BATCH_PAIRS, BATCH_ROWS, parse_bytes

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

MIN_DRAWS = 4
"""Fewest random directions: with them one further is held out (`pooled_null.HELD_OUT`)."""

_MANY_DRAWS = 4096  # beyond that, t is the normal distribution for all that matters here

UNIT_FEATURES = 16  # minimum source features of a work unit, which is what a resumed run skips


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """What a trace computes, checked and parsed.

    Attributes
    ----------
    source_layers, target_layers
        0-based layers that are edited and layers that are measured, ascending.
    features
        Source features that were asked for, ascending; empty: every active one.
    context
        `scircuit.core.context`.
    numerics
        Number format of the model's layers.
    memory
        Cap on the memory in bytes; None without one.
    device
        Where the model computes.
    model_name, dictionary_name
        Names in addresses.
    rules
        What is active, ablated and stored.
    gate_p
        Tests up to this p are stored.
    null_draws
        Random directions that give the null of every effect; 0: none.
    audit, control_features
        Share of the sources that is audited; sources that get controls.
    seed
        Seed of every random choice.
    unit_features, batch_pairs, batch_rows
        How the work is cut: sources of a work unit, edits of an exact batch, rows of another.
    """

    source_layers: tuple[int, ...]
    target_layers: tuple[int, ...]
    features: tuple[int, ...]
    context: int
    numerics: str
    memory: int | None
    device: str
    model_name: str
    dictionary_name: str
    rules: EffectRules
    gate_p: float
    null_draws: int
    audit: float
    control_features: int
    seed: int
    unit_features: int
    batch_pairs: int
    batch_rows: int

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers that are edited or measured, ascending."""
        return tuple(sorted({*self.source_layers, *self.target_layers}))

    def targets_of(self, source: int) -> tuple[int, ...]:
        """Measured layers of one source layer."""
        return later_layers(self.target_layers, source)


def check_options(config: TraceConfig) -> None:
    """Check the options that need neither model nor dictionaries.

    Raises
    ------
    UserError
        If an option is unknown, malformed, or does not go with another.
    """
    if config.device not in ("auto", "cpu", "cuda", "mps") and not config.device.startswith(
        "cuda:"
    ):
        raise UserError(f"device {config.device!r} is unknown", "choose auto, cpu, cuda or mps")
    context = parse_context(config.context)
    parse_bytes(config.memory)
    if config.legacy and context != EXACT:
        raise UserError(
            f"--legacy with context {config.context}: the published study recomputed every"
            " position",
            "leave --context at exact",
        )
    if not config.source_layers:
        raise UserError("no source layer is given", "name one or more with --source-layers")
    if config.control_features < 1:
        raise UserError(
            f"control_features is {config.control_features}: no source would have a control, and"
            " edges without controls cannot be judged",
            "give --control-features 24, or fewer",
        )
    if config.null_draws and config.null_draws < MIN_DRAWS:
        raise UserError(
            f"null_draws is {config.null_draws}: a mean, a standard deviation and one direction"
            f" held out of both take at least {MIN_DRAWS} random directions",
            "give --null-draws 64, or 0 to trace total effects only",
        )


def resolve_settings(
    config: TraceConfig,
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    rules: EffectRules | None = None,
) -> TraceSettings:
    """Check and parse the options of a trace.

    Parameters
    ----------
    config
        The options.
    adapter, dictionaries
        The model; layer -> dictionary, of every layer there is one for.
    rules
        Rules of another study; the project's own when None.

    Raises
    ------
    UserError
        If an option is wrong, or layers, dictionaries and model do not fit together.
    """
    check_options(config)
    targets = check_layers(adapter, dictionaries, config.source_layers, config.target_layers)
    draws = 0 if config.legacy else config.null_draws
    if draws:
        adapter.require_direct_path()
        for source in sorted(set(config.source_layers)):
            tests = sum(dictionaries[t].n_features for t in later_layers(targets, source))
            _check_draws(draws, adapter.width, tests)
    return TraceSettings(
        source_layers=tuple(sorted(set(config.source_layers))),
        target_layers=targets,
        features=tuple(sorted(set(config.features))),
        context=parse_context(config.context),
        numerics=config.numerics,
        memory=parse_bytes(config.memory) or None,
        device=str(adapter.device),
        model_name=slug(config.model_name) if config.model_name else adapter.name,
        dictionary_name=slug(config.dictionary_name or Path(config.dictionaries).name),
        rules=rules or EffectRules(),
        gate_p=config.gate_p,
        null_draws=draws,
        audit=config.audit,
        control_features=config.control_features,
        seed=config.seed,
        unit_features=UNIT_FEATURES,
        batch_pairs=BATCH_PAIRS,
        batch_rows=BATCH_ROWS,
    )


def _check_draws(draws: int, width: int, tests: int) -> None:
    """Check that so many random directions can tell one of the targets of a source from chance.

    Raises
    ------
    UserError
        If the smallest p that they can give has q above the threshold of an edge.
    """
    smallest = smallest_p(width, draws)
    if smallest * tests <= MAX_Q:
        return
    enough = next(
        (k for k in range(draws, _MANY_DRAWS) if smallest_p(width, k) * tests <= MAX_Q), 0
    )
    raise UserError(
        f"null_draws is {draws}: with {draws} random directions of {width} dimensions the smallest"
        f" p of an effect is {smallest:.2g}, and a source has {tests:,} targets, so q <= {MAX_Q:g}"
        f" needs p <= {MAX_Q / tests:.2g}: no computed or carried edge could be found",
        (f"give --null-draws {enough} or more" if enough else "measure fewer layers")
        + ", or 0 to trace total effects only",
    )
