"""Properties of the relationships that hold measured effects: ``AFFECTS``, ``CONTROL_AFFECTS`` and
``ACTIVE_IN``.
"""
# fmt: off

from __future__ import annotations

from scircuit.core.schema.property import RUN, P, Property, Q, prop

AFFECTS_PROPERTIES: tuple[Property, ...] = (
    RUN,
    prop("n", "int", "cells in which the source is active", "cells"),
    prop("n_pos", "int",
         "cells with effect above the numeric floor: ablation raises the target", "cells"),
    prop("n_neg", "int",
         "cells with effect below minus the numeric floor: ablation lowers the target", "cells"),
    prop("mean", "float", "mean effect over the n cells", "dictionary units of the target"),
    prop("sd", "float",
         "standard deviation of the effect (n - 1)", "dictionary units of the target"),
    prop("d", "float", "mean / max(sd, 1e-10)"),
    prop("p", "float",
         "two-sided sign-flip p over cells, exact up to 20 non-zero cells", "probability"),
    prop("q", "float",
         "Benjamini-Hochberg over all live tests of the run, and at least what the skewness of the"
         " run's effects implies", "probability"),
    prop("passthrough", "float",
         "mean effect when the edit is re-encoded without any block computing",
         "dictionary units"),
    prop("positions", "int", "active positions of the source, summed over cells", "positions"),
    prop("halves", "int",
         "halves of the cells (0, 1, 2) that agree: same sign and p <= 0.05; null where a half"
         " has fewer than 6 cells with an effect. The edge was chosen on all cells, so agreement"
         " is not an independent test; `split_half` of the controls is"),
    prop("consistency", "float",
         "sign consistency as an imported source states it, where it gives no counts", "share"),
)

ACTIVE_IN_PROPERTIES: tuple[Property, ...] = (
    P,
    Q,
    prop("odds_ratio", "float", "odds ratio, where a table of counts was tested"),
    prop("odds_infinite", "bool", "the published odds ratio is infinite"),
    prop("cells", "int",
         "cells of this type or tissue: among the feature's top cells where published, all tested"
         " cells in own runs", "cells"),
    prop("donors", "int",
         "donors that the test counts; 0 where there was no donor column and cells were counted",
         "donors"),
    prop("difference", "float",
         "mean activation there minus that elsewhere, per donor where there are donors",
         "dictionary units"),
    prop("test", "str", "what was tested"),
    prop("origin", "str", "own or published"),
)

_OF_A_CONTROL = ("n", "n_pos", "n_neg", "mean", "sd", "d", "p")

CONTROL_PROPERTIES: tuple[Property, ...] = (
    RUN,
    prop("control", "str",
         "zero_edit, random_direction, feature_swap, passthrough; half_even, half_odd: the source"
         " itself in every other cell"),
    *(p for p in AFFECTS_PROPERTIES if p.name in _OF_A_CONTROL),
    prop("q", "float",
         "q of this p among the live tests of the run: edges and controls share one threshold",
         "probability"),
)
