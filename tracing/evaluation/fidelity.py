"""Do these dictionaries describe this model on these cells: lines of the preflight.

A dictionary of another model, of another layer or of other cells fails at one of: the model hash it
names, variance explained and loss recovered (`scircuit.tracing.evaluation.loss_recovered`) beside
those of its null (`scircuit.tracing.evaluation.rotated_null`), whether another layer's dictionary
explains its layer better, and firing rates beside those where it was made. And the zero edit: the
tracer's own code with nothing to remove must find nothing. All measures share a time limit; those
that were skipped are listed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.tracing.cells.held_out import check_unseen, unseen
from scircuit.tracing.engine.layers import ranges

if TYPE_CHECKING:
    from scircuit.tracing.cells.cohort import Cohort
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.evaluation.quality import Quality
    from scircuit.tracing.evaluation.rotated_null import RotatedDictionary
    from scircuit.tracing.models.adapter import Adapter

CELLS = 20
NOT_MEASURED = "not measured"  # start of a finding that speaks neither for nor against
# Any k directions explain and recover something. Beside each dictionary stands its null
# (`scircuit.tracing.evaluation.rotated_null`); it must gain this share of what its null leaves.
# Those of the demo gain 0.6 of the variance and half of the loss, one of another model nothing.
MIN_GAIN = 0.25
# A loss fails when it is this many standard errors below what is needed. On 20 cells they never
# saw, the demo's own dictionaries are between +0.17 and -0.12 +- 0.04 nats (six layers, three draws
# of the cells), the lowest 2.8 errors below, so that a smaller number would refuse good ones.
ERRORS = 4.0
# On 20 cells of their own kind the demo's dictionaries give 0.71 to 0.89, on the opposite layer
# 0.2; rare features are noisy, so not 1.
MIN_RANK_CORRELATION = 0.5
MIN_FIRINGS = 100  # per feature, on average: with fewer the order of the rates is noise
# Active features a row beside the catalogue's: another scale of the states moves this, the kind of
# cells hardly.
MAX_RATIO = 2.0
# Edits of nothing, relative to the largest activation: float32 through tens of layers.
ROUNDING = 1e-4
UNSURE_PLACE = re.compile(r"(?<!normalized_)resid_(post|pre)$")
_MODEL_FIX = "use dictionaries trained on this model and on cells like these"


def identity_lines(
    adapter: Adapter, dictionaries: Mapping[int, Dictionary], cohort: Cohort | None
) -> list[CheckLine]:
    """Layers and width fit, the model is the one they name, and which of the cells (where there are
    any) they were trained on.
    """
    outside = [layer for layer in dictionaries if not 0 <= layer < adapter.n_layers]
    widths = sorted({d.width for d in dictionaries.values()})
    kinds = "; ".join(sorted({_kind(d) for d in dictionaries.values()}))
    fits = CheckLine(
        "dictionaries",
        not outside and widths == [adapter.width],
        f"layers {ranges(dictionaries)}; width {', '.join(map(str, widths))}; {kinds}",
        f"layers among 0..{adapter.n_layers - 1}, width {adapter.width}",
        "give the dictionaries that were trained on this model",
    )
    return [
        fits,
        *(
            trained_lines(adapter, dictionaries, cohort)
            if cohort is not None
            else [model_line(adapter, dictionaries)]
        ),
        *place_lines(adapter, dictionaries),
    ]


def place_lines(adapter: Adapter, dictionaries: Mapping[int, Dictionary]) -> list[CheckLine]:
    """Places whose names do not decide whether they are a layer's output; none where all do.

    TransformerLens calls ``hook_resid_post`` the sum before the last norm of a post-norm layer, and
    others the layer's output.
    """
    places = {layer: str(d.provenance.get("place") or "") for layer, d in dictionaries.items()}
    unsure = {layer: place for layer, place in places.items() if UNSURE_PLACE.search(place)}
    if adapter.adds_to_stream or not unsure:
        return []
    return [
        CheckLine(
            "places of the dictionaries",
            True,
            f"{NOT_MEASURED}: layers {ranges(unsure)} read {next(iter(unsure.values()))!r}, in"
            " TransformerLens the state before the last norm, which is not the output of a layer of"
            f" {adapter.name}; the variance explained decides",
            "the output of the layer, after its last norm",
            _MODEL_FIX,
        )
    ]


def trained_lines(
    adapter: Adapter, dictionaries: Mapping[int, Dictionary], cohort: Cohort
) -> list[CheckLine]:
    """On which model the dictionaries were trained, and on which of these cells."""
    return [
        model_line(adapter, dictionaries),
        *dict.fromkeys(check_unseen(d.provenance, cohort) for d in dictionaries.values()),
    ]


def cells_for_quality(
    dictionaries: Mapping[int, Dictionary], cohort: Cohort
) -> tuple[list[np.ndarray], CheckLine]:
    """Cells on which quality is measured: those that no dictionary saw, if there are `CELLS` of
    them or more, else all; and which they are.
    """
    new = set(cohort.barcodes).intersection(
        *(unseen(d.provenance, cohort) for d in dictionaries.values())
    )
    cells = [
        tokens
        for barcode, tokens in zip(cohort.barcodes, cohort.tokens, strict=True)
        if barcode in new
    ]
    name, expected = "evaluation cells", "cells that no dictionary was trained on"
    if len(cells) >= CELLS:
        return cells, CheckLine(
            name,
            True,
            f"drawn from {len(cells):,} cells that no dictionary was trained on",
            expected,
        )
    few = f"only {len(cells):,} are" if cells else "none is"
    return list(cohort.tokens), CheckLine(
        name,
        True,
        f"drawn from all {len(cohort.tokens):,}, seen in training or not: {few} known to be unseen",
        expected,
    )


def _kind(dictionary: Dictionary) -> str:
    rule = f"{dictionary.rule} {dictionary.k}" if dictionary.rule == "topk" else dictionary.rule
    norm = {"columns": "directions of unit length", "rows": "decoder rows of unit length"}.get(
        dictionary.decoder_norm, "directions of any length"
    )
    return f"{dictionary.n_features:,} features, {rule}, {norm}"


def model_line(adapter: Adapter, dictionaries: Mapping[int, Dictionary]) -> CheckLine:
    """Whether the dictionaries name the weights of the model, and the fields of its configuration
    that decide what is computed with them (dictionaries of earlier versions name none).
    """
    stated = {layer: d.provenance.get("model_sha256") for layer, d in dictionaries.items()}
    other = {layer: sha for layer, sha in stated.items() if sha and sha != adapter.sha256}
    unknown = [layer for layer, sha in stated.items() if not sha]
    arithmetic = [
        layer
        for layer, d in dictionaries.items()
        if adapter.config_sha256
        and d.provenance.get("model_config_sha256", adapter.config_sha256) != adapter.config_sha256
    ]
    if other:
        found = (
            f"layers {ranges(other)} were trained on a model with hash"
            f" {next(iter(other.values()))[:12]}"
        )
    elif arithmetic:
        found = (
            f"layers {ranges(arithmetic)} were trained with another config.json, by which the same"
            " weights compute other states (heads, activation, norms)"
        )
    else:
        silent = (
            f"{NOT_MEASURED}: the dictionaries of layers {ranges(unknown)} do not name its hash"
        )
        found = silent if unknown else f"the one they name ({adapter.sha256[:12]})"
        recorded = all("model_config_sha256" in d.provenance for d in dictionaries.values())
        if adapter.config_sha256 and not unknown and not recorded:
            found += "; with which config.json they were trained is not recorded"
    return CheckLine(
        "model of the dictionaries",
        not other and not arithmetic,
        found,
        f"{adapter.name} with hash {adapter.sha256[:12]}",
        _MODEL_FIX,
    )


def fidelity_lines(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    seconds: float,
    seed: int = 0,
) -> Iterator[CheckLine]:
    """Reconstruction, layer match, firing rates, loss recovered and zero edit, each as soon as it
    is known.

    Parameters
    ----------
    adapter, dictionaries, cells
        Model, dictionaries that fit it, and cells; up to `CELLS` of them, drawn with the seed, are
        used.
    seconds
        About how long it may take; a third each for reconstruction and loss, the zero edit takes
        one cell.
    seed
        Seed of the choice of cells and of the masks.
    """
    from scircuit.tracing.evaluation.layer_match import (
        layer_match_line,
        off_by_one_lines,
        sample_rows,
        stated_explained,
        with_neighbours,
    )
    from scircuit.tracing.evaluation.quality import evaluate
    from scircuit.tracing.evaluation.rotated_null import RotatedDictionary, explained, rebuilt

    # Drawn over the whole file, which may be sorted: where the time ends early, the cells used are
    # still a fair part.
    sample = [cells[i] for i in np.random.default_rng(seed).permutation(len(cells))[:CELLS]]
    used: list[np.ndarray] = []
    quality = evaluate(adapter, dictionaries, _within(sample, seconds / 3, used))
    rows = sample_rows(adapter, with_neighbours(quality, adapter.n_layers), used)
    own_rows = {layer: rows[layer] for layer in quality}
    nulls = {
        layer: RotatedDictionary(dictionaries[layer], found["mean"], seed)
        for layer, found in quality.items()
    }
    for layer, found in sorted(quality.items()):
        x, d = rows[layer], dictionaries[layer]
        yield _reconstruction(
            layer,
            found,
            explained(x, rebuilt(d, x)),
            explained(x, nulls[layer].rebuilt(x)),
            len(used),
            stated_explained(d),
        )
    if len(dictionaries) > 1:
        yield layer_match_line(dictionaries, own_rows)
    yield from off_by_one_lines(dictionaries, rows)
    for layer, found in sorted(quality.items()):
        line = firing_line(layer, dictionaries[layer], found)
        if line is not None:
            yield line
    yield from loss_lines(adapter, nulls, used, seconds / 3, seed)
    yield zero_edit_line(adapter, dictionaries, used[:1])


def _within(
    cells: Sequence[np.ndarray], seconds: float, used: list[np.ndarray]
) -> Iterator[np.ndarray]:
    end = time.monotonic() + seconds
    for cell in cells:
        if used and time.monotonic() > end:
            return
        used.append(cell)
        yield cell


def _needed(null: float) -> float:
    return null + MIN_GAIN * (1 - null)


def _reconstruction(
    layer: int, found: Quality, own: float, null: float, cells: int, stated: float | None
) -> CheckLine:
    """Variance explained by the dictionary and by its null, `own` and `null`, are those of the same
    rows, a sample of all; `stated` is what the dictionary says of the cells it was trained on.
    """
    from scircuit.tracing.evaluation.layer_match import STATED

    needed = max(_needed(null), STATED * (stated or 0.0))
    beside = "" if stated is None else f", {stated:.1%} where it was trained"
    return CheckLine(
        f"layer {layer} reconstruction",
        bool(own > needed),
        f"{found['variance_explained']:.1%} of the variance (on a sample {own:.1%}, {null:.0%} with"
        f" randomly rotated directions{beside}), {found['l0']:.1f} active features a row,"
        f" {found['dead_share']:.0%} of features silent on {cells} of these cells",
        f"more than {needed:.0%} on the sample",
        _MODEL_FIX,
    )


def firing_line(layer: int, dictionary: Dictionary, found: Quality) -> CheckLine | None:
    """Firing rates of a layer beside those of its dictionary's catalogue; None without one."""
    name, expected = (
        f"layer {layer} firing rates",
        (
            f"a rank correlation of at least {MIN_RANK_CORRELATION}, a total within a factor of"
            f" {MAX_RATIO:g}"
        ),
    )
    try:
        catalogue = dictionary.catalogue
    except UserError as error:
        return CheckLine(name, False, error.problem, "a catalogue of this dictionary", error.fix)
    if catalogue is None:
        return None
    here, there = found["activation_freq"], catalogue.activation_freq
    firings = found["rows_held_out"] * found["l0"] / dictionary.n_features
    if firings < MIN_FIRINGS:
        return CheckLine(
            name,
            True,
            f"{NOT_MEASURED}: {firings:.0f} firings a feature on these cells, fewer than"
            f" {MIN_FIRINGS}",
            expected,
        )
    correlation, ratio = rank_correlation(here, there), float(here.sum() / max(there.sum(), 1e-12))
    ok = correlation >= MIN_RANK_CORRELATION and 1 / MAX_RATIO <= ratio <= MAX_RATIO
    return CheckLine(
        name,
        ok,
        f"rank correlation {correlation:.2f} with its own catalogue, {ratio:.2f} times its total",
        expected,
        _MODEL_FIX,
    )


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation, ties at their mean rank; 0 where one side is constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def loss_lines(
    adapter: Adapter,
    nulls: Mapping[int, RotatedDictionary],
    cells: Sequence[np.ndarray],
    seconds: float,
    seed: int,
) -> Iterator[CheckLine]:
    """Loss recovered of each layer. With too few masked genes to decide the line says so: how many
    there are depends on the speed of the machine.
    """
    from scircuit.tracing.evaluation.loss_recovered import loss_recovered

    if adapter.vocabulary.mask is None or adapter.vocabulary.mask < 0:
        yield CheckLine(
            "loss recovered",
            True,
            f"{NOT_MEASURED}: {adapter.name} ({adapter.family}) masks no tokens",
            "a masked-token head",
        )
        return
    try:
        found = loss_recovered(adapter, nulls, cells, seed=seed, seconds=seconds)
    except UserError as error:
        yield CheckLine(
            "loss recovered", True, f"{NOT_MEASURED}: {error.problem}", "a masked-token head"
        )
        return
    for layer, r in found.items():
        losses = (
            f"loss {r.clean:.2f} clean, {r.rebuilt:.2f} rebuilt, {r.ablated:.2f} with the mean"
            f" state ({r.tokens:,} masked genes)"
        )
        needed = _needed(max(r.null_share, 0.0))
        recovered = f"{r.share:.0%} ({r.null_share:.0%} with randomly rotated directions): {losses}"
        spare, error = r.margin(MIN_GAIN)
        broken = not bool(r.losses.isfinite().all())
        failed = broken or (r.measurable and spare < -ERRORS * error)
        if broken:
            recovered = f"NaN or infinite: {losses}"
        elif not r.measurable:
            recovered = f"{NOT_MEASURED}: the mean state does not raise the model's loss: {losses}"
        elif spare < 0 and not failed:
            recovered = (
                f"{NOT_MEASURED}: {r.share:.0%} cannot be told from the {needed:.0%} needed"
                f" on {r.cells} cell{'s' * (r.cells > 1)}: {losses}"
            )
        yield CheckLine(
            f"layer {layer} loss recovered",
            not failed,
            recovered,
            f"at least {needed:.0%}",
            _MODEL_FIX,
        )
    left = sorted(set(nulls) - set(found))
    if left:
        yield CheckLine(
            "loss recovered",
            True,
            f"{NOT_MEASURED} for layers {ranges(left)}: the time limit was reached",
            "all layers",
            "give more --seconds",
        )


def zero_edit_line(
    adapter: Adapter, dictionaries: Mapping[int, Dictionary], cells: Sequence[np.ndarray]
) -> CheckLine:
    """Largest change of an active code, relative to the largest activation, when the tracer removes
    nothing.
    """
    from scircuit.tracing.clean_pass.clean_pass import clean_cell
    from scircuit.tracing.engine.numeric_floor import zero_edit

    name, expected = "zero edit", f"at most {ROUNDING:.0e} of the largest activation"
    source, *targets = sorted(dictionaries)
    if not targets:
        return CheckLine(
            name,
            True,
            f"{NOT_MEASURED}: layer {source} is the only one with a dictionary",
            expected,
        )
    try:
        clean = [clean_cell(adapter, dictionaries, cell, (source, *targets)) for cell in cells]
        worst = zero_edit(adapter, dictionaries, clean, source, targets, 2)
    except UserError as error:
        return CheckLine(name, False, error.problem, expected, error.fix)
    largest = {t: max(float(c.codes[t][0].max()) for c in clean) for t in worst}
    share = {t: w / largest[t] if largest[t] else 0.0 for t, w in worst.items()}
    top = max(share, key=share.__getitem__)
    return CheckLine(
        name,
        share[top] <= ROUNDING,
        f"removing nothing at layer {source} moves codes by at most {share[top]:.0e} of the largest"
        f" (layer {top})",
        expected,
        "report the model and the device; try --device cpu",
    )
