"""Load model, dictionaries and cells together, refuse what does not fit before any compute, and
resolve the options into the settings of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.address import slug
from scircuit.core.build_config import build_stored
from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scircuit.core.preflight import CheckLine
    from scircuit.tracing.cells.cohort import Cohort
    from scircuit.tracing.dictionaries import Dictionary
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.evaluation.loss_on_cells import LossOnCells
    from scircuit.tracing.models import Adapter


@dataclass(frozen=True)
class Inputs:
    """What a trace needs, loaded and checked."""

    adapter: Adapter
    dictionaries: Mapping[int, Dictionary]
    cohort: Cohort
    settings: TraceSettings

    def report(self, *, strict: bool = True, untrained: bool = False) -> tuple[CheckLine, ...]:
        """Preflight of a trace: whether the model is better than guessing on these cells, the cells
        themselves, and the dictionaries in use: their model, how many of these cells they were
        trained on, what they explain, and whether each fits its layer.

        Parameters
        ----------
        strict
            Refuse dictionaries that appear to be swapped between layers.
        untrained
            Accept a model that is no better than guessing, and dictionaries that explain nothing.

        Raises
        ------
        UserError
            If one of these is not accepted.
        """
        from scircuit.tracing.dictionaries.mlp_site import site_of
        from scircuit.tracing.evaluation.fidelity import place_lines, trained_lines
        from scircuit.tracing.evaluation.layer_match import (
            FEW_ROWS,
            explained_lines,
            layer_match_line,
            off_by_one_lines,
            require_explained,
            require_layer_match,
            sample_rows,
            with_neighbours,
        )
        from scircuit.tracing.evaluation.loss_on_cells import (
            loss_line,
            require_better_than_guessing,
        )
        from scircuit.tracing.models.self_check import files_line

        if not untrained:
            require_better_than_guessing(self.adapter, self.loss)
        used = {
            layer: dictionary.to(self.adapter.device) for layer, dictionary in self.used.items()
        }
        if site_of(used) == "mlp":
            return self._report_of_transcoders(used, strict=strict and not untrained)
        near = with_neighbours(used, self.adapter.n_layers)
        around = sample_rows(self.adapter, near, self.cohort.tokens[:1], FEW_ROWS)
        rows = {layer: around[layer] for layer in used}
        lines = [
            loss_line(self.adapter, self.loss),
            *files_line(self.adapter),
            *self.cohort.report,
            *trained_lines(self.adapter, used, self.cohort),
            *place_lines(self.adapter, used),
        ]
        if len(used) > 1:
            if strict:
                require_layer_match(used, rows)
            lines.append(layer_match_line(used, rows))
        if strict and not untrained:
            require_explained(used, rows)
        return (*lines, *explained_lines(used, rows), *off_by_one_lines(used, around))

    def _report_of_transcoders(
        self, used: Mapping[int, Dictionary], *, strict: bool
    ) -> tuple[CheckLine, ...]:
        from scircuit.tracing.evaluation.fidelity import trained_lines
        from scircuit.tracing.evaluation.loss_on_cells import loss_line
        from scircuit.tracing.evaluation.transcoder_fit import fit_lines
        from scircuit.tracing.models.self_check import files_line

        fit = fit_lines(self.adapter, used, self.cohort.tokens[:1], strict=strict)
        return (
            loss_line(self.adapter, self.loss),
            *files_line(self.adapter),
            *self.cohort.report,
            *trained_lines(self.adapter, used, self.cohort),
            *fit,
        )

    @cached_property
    def loss(self) -> LossOnCells | None:
        """Loss of the model on masked genes of these cells; None where it has no token head."""
        from scircuit.tracing.evaluation.loss_on_cells import loss_on_cells

        return loss_on_cells(self.adapter, self.cohort.tokens, self.settings.seed)

    @property
    def used(self) -> dict[int, Dictionary]:
        """Dictionaries of the source and target layers."""
        return {layer: self.dictionaries[layer] for layer in self.settings.layers}

    def hashes(self) -> dict[str, Any]:
        """Hashes that enter the run id."""
        return {
            "model": self.adapter.sha256,
            "dictionaries": {
                str(layer): d.sha256 for layer, d in sorted(self.dictionaries.items())
            },
            "cells": self.cohort.sha256,
            "row_ids": [int(r) for r in self.cohort.row_ids],
        }

    def hashes_beside(self) -> dict[str, str]:
        """Hashes that do not enter the run id, which is older than they are; a run that has others
        is refused.
        """
        return {"config": self.adapter.config_sha256, "tokens": self.cohort.tokens_sha256}


def require_folder(path: str | Path, what: str) -> Path:
    """Path of an existing folder.

    Raises
    ------
    UserError
        If it is missing or a file.
    """
    folder = Path(path)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{what} folder {str(folder)!r} {kind}", f"give the folder of the {what}")
    return folder


def load_dictionaries_for(adapter: Adapter, folder: str | Path) -> Mapping[int, Dictionary]:
    """Dictionaries that fit the model; of transcoders that read a norm before its weight, with the
    weight folded in.

    Raises
    ------
    UserError
        If a layer does not exist in the model, the width differs, or their site is not one of the
        model.
    """
    from scircuit.tracing.dictionaries import load_dictionaries
    from scircuit.tracing.dictionaries.mlp_site import require_site, with_gain

    found = load_dictionaries(require_folder(folder, "dictionaries"))
    for layer, dictionary in found.items():
        if layer >= adapter.n_layers:
            raise UserError(
                f"the dictionaries have layer {layer}, the model {adapter.name} has layers"
                f" 0..{adapter.n_layers - 1}",
                "give the dictionaries that were trained on this model",
            )
        if dictionary.width != adapter.width:
            raise UserError(
                f"the dictionary of layer {layer} reads width {dictionary.width}, the model"
                f" {adapter.name} has width {adapter.width}",
                "give the dictionaries that were trained on this model",
            )
    require_site(adapter, found)
    return with_gain(adapter, found)


def require_model(adapter: Adapter, dictionaries: Mapping[int, Dictionary]) -> None:
    """Refuse dictionaries that name another model; those that name none pass.

    Raises
    ------
    UserError
        If one does.
    """
    from scircuit.tracing.evaluation.fidelity import model_line

    line = model_line(adapter, dictionaries)
    if not line.ok:
        raise UserError(
            f"{line.found}; expected {line.expected}: the directions of a dictionary are valid in"
            " its own model only",
            "give that model's own weight files (the hash is that of the files), or dictionaries"
            " trained on this model",
        )


def require_topk(dictionaries: Mapping[int, Dictionary]) -> None:
    """Refuse what has no k for a legacy run.

    Raises
    ------
    UserError
        If a dictionary is not TopK: the published rule calls a feature active where it is among the
        k largest.
    """
    other = {layer: d.rule for layer, d in dictionaries.items() if d.rule != "topk"}
    if other:
        layer, rule = next(iter(other.items()))
        raise UserError(
            f"--legacy with the dictionary of layer {layer}, which is {rule}: the published study"
            " calls a feature active where it is among the k largest, and this one has no k",
            "give TopK dictionaries, or leave out --legacy",
        )


def require_gene_model(inputs: Inputs, verb: str) -> None:
    """Refuse what reads genes off a model's tokens, or edits layer outputs by features, where the
    run is of a model or of dictionaries that work otherwise.

    Raises
    ------
    UserError
        If the model reads sentences, or the dictionaries are transcoders.
    """
    adapter = inputs.adapter
    if not adapter.tokens_are_genes:
        raise UserError(
            f"scircuit {verb} needs a model with one token a gene; {adapter.name}"
            f" ({adapter.family}) spells genes by several",
            "give a run of Geneformer or scGPT; models of cell sentences can be checked, trained"
            " on, traced, scrambled and annotated",
        )
    require_output_site(inputs, verb)


def require_output_site(inputs: Inputs, verb: str) -> None:
    """Refuse transcoders where features are read off layer outputs.

    Raises
    ------
    UserError
        If the dictionaries are transcoders.
    """
    from scircuit.tracing.dictionaries.mlp_site import site_of

    if site_of(inputs.dictionaries) == "mlp":
        raise UserError(
            f"scircuit {verb} needs dictionaries of layer outputs; the run has transcoders",
            "give a run with SAEs (scircuit train --site output)",
        )


def load_inputs(config: TraceConfig) -> Inputs:
    """Load and check everything a trace needs.

    Raises
    ------
    UserError
        If an option is wrong, or an input is missing or does not fit the others.
    """
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.engine.settings import check_options, resolve_settings
    from scircuit.tracing.legacy.legacy_cohort import load_legacy_cohort
    from scircuit.tracing.legacy.legacy_effects import LEGACY_RULES
    from scircuit.tracing.models import load_model

    check_options(config)
    adapter = load_model(
        require_folder(config.model, "model"),
        config.device,
        slug(config.model_name) if config.model_name else "",
    )
    dictionaries = load_dictionaries_for(adapter, config.dictionaries)
    rules = LEGACY_RULES if config.legacy else None
    settings = resolve_settings(config, adapter, dictionaries, rules)
    used = {layer: dictionaries[layer] for layer in settings.layers}
    require_model(adapter, used)
    if config.legacy:
        require_topk(used)
    load = load_legacy_cohort if config.legacy else load_cohort
    return Inputs(
        adapter,
        dictionaries,
        load(config, adapter.vocabulary, adapter.max_length),
        settings,
    )


def inputs_of_run(
    manifest: Manifest, *, device: str = "auto", n_cells: int | None = None
) -> tuple[TraceConfig, Inputs]:
    """Load the inputs of a trace run, and make sure that none has changed since.

    Parameters
    ----------
    manifest
        The run.
    device
        Where to compute.
    n_cells
        Cells to draw instead of the run's own, from those that pass its filters; 0: all.

    Raises
    ------
    UserError
        If a file is missing, or its hash differs from that in the manifest.
    """
    config = build_stored(TraceConfig, {**manifest.config, "device": device})
    inputs = load_inputs(config if n_cells is None else replace(config, n_cells=n_cells))
    now_is = {**inputs.hashes(), **inputs.hashes_beside()}
    of_cells = ("row_ids", "tokens") if n_cells is None else ()
    for name in ("model", "config", "dictionaries", "cells", *of_cells):
        # runs of earlier versions do not state all of them
        if now_is[name] != manifest.inputs.get(name, now_is[name]):
            raise UserError(
                f"the {name} of run {manifest.run} have changed since it ran",
                "restore the files named in its manifest.json, or trace again",
            )
    return config, inputs
