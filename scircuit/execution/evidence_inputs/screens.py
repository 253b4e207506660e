"""A perturbation screen as the model of a trace run reads it: counts by gene, the perturbed gene of
every cell, and what each perturbation did.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.config import CellsConfig, PredictConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.gene_predictions.screen_changes import ScreenChanges

PERTURBATION_COLUMNS = ("target", "perturbation", "gene", "target_gene", "perturbed_gene")
CONTROL_LABELS = ("non-targeting", "control", "ctrl", "NT", "safe-targeting")


class Screen(NamedTuple):
    """Changes under each perturbation, and whether model or dictionaries were trained on these
    cells; None: their provenance does not say.
    """

    changes: ScreenChanges
    seen: bool | None


def load_screen(trace: Manifest, config: PredictConfig) -> Screen:
    """Read a screen by the gene names of the trace run's model.

    Raises
    ------
    UserError
        If the cells are refused (no raw counts, another species), the column or the label of the
        controls is missing, or too few cells have one.
    """
    from scircuit.analysis.gene_predictions.screen_changes import screen_changes
    from scircuit.execution.load_inputs import load_dictionaries_for, require_folder
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.models import load_model

    assert config.screen is not None
    labels_of = read_labels(config.screen, config.perturbation)
    control = control_label(labels_of, config.control)
    adapter = load_model(require_folder(str(trace.config["model"]), "model"), "cpu", "")
    cohort = load_cohort(
        CellsConfig(
            cells=config.screen,
            n_cells=0,
            mixed=True,
            panel=True,
            layer_key=config.layer_key,
            gene_column=config.gene_column,
            min_mapped=0.0,
            min_tokens=0,
        ),
        adapter.vocabulary,
        adapter.max_length,
    )
    changes = screen_changes(
        cohort.counts,
        cohort.totals,
        [adapter.vocabulary.symbol(g) or g for g in cohort.genes],
        labels_of.iloc[cohort.row_ids].tolist(),
        control,
        min_cells=config.min_cells,
        pseudo_count=config.pseudo_count,
    )
    dictionaries = load_dictionaries_for(adapter, str(trace.config["dictionaries"]))
    return Screen(changes, _seen([dict(d.provenance or {}) for d in dictionaries.values()], cohort))


def read_labels(path: Path, column: str = "") -> pd.Series:
    """The perturbation of every cell of the file, as text; cells without one have an empty text.

    Raises
    ------
    UserError
        If no column of obs has it, or the named one is missing.
    """
    from scircuit.tracing.cells.column_names import named
    from scircuit.tracing.cells.expression_files import open_expression
    from scircuit.tracing.cells.filter_values import as_text

    with open_expression(path) as expression:
        obs = expression.obs
    columns = [str(c) for c in obs.columns]
    name = column or next(iter(named(obs.columns, PERTURBATION_COLUMNS)), "")
    if name not in columns:
        wanted = f"column {name!r}" if name else f"column {', '.join(PERTURBATION_COLUMNS)}"
        raise UserError(
            f"the obs of {path.name} has no {wanted}; it has {', '.join(columns) or 'none'}",
            "name the column of the perturbed gene with --perturbation",
        )
    import pandas as pd

    values = obs.iloc[:, columns.index(name)]
    text = pd.Series(as_text(values), index=obs.index, dtype=object)
    return text.where(values.notna().to_numpy(), "")


def control_label(labels: pd.Series, asked: str = "") -> str:
    """The label of the unperturbed cells.

    Raises
    ------
    UserError
        If it is not among the labels.
    """
    from scircuit.tracing.cells.column_names import named

    present: Sequence[str] = sorted({str(v) for v in labels if v})
    if asked:
        if asked in present:
            return asked
    elif found := named(present, CONTROL_LABELS):
        return found[0]
    looked = repr(asked) if asked else ", ".join(CONTROL_LABELS)
    shown = ", ".join(present[:8]) + (f" and {len(present) - 8} more" if len(present) > 8 else "")
    raise UserError(
        f"no cell is labelled {looked}; the {len(present)} labels are {shown or 'empty'}",
        "name the label of the control cells with --control",
    )


def _seen(provenance: Sequence[dict[str, object]], cohort: object) -> bool | None:
    """Whether dictionaries state that they were trained on cells of this file."""
    sha256, barcodes = getattr(cohort, "sha256", ""), set(getattr(cohort, "barcodes", ()))
    stated = [p for p in provenance if p.get("cells_sha256") or p.get("trained_cells")]
    if not stated:
        return None
    for one in stated:
        trained = one.get("trained_cells")
        cells = trained if isinstance(trained, (list, tuple)) else ()
        if one.get("cells_sha256") == sha256 or barcodes & set(map(str, cells)):
            return True
    return False
