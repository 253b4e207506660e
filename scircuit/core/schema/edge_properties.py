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
    prop("mean", "float",
         "mean effect on the target's activation, over the n cells",
         "dictionary units of the target"),
    prop("sd", "float",
         "standard deviation of the effect (n - 1)", "dictionary units of the target"),
    prop("d", "float", "mean / max(sd, 1e-10)"),
    prop("p", "float",
         "two-sided sign-flip p over cells, exact up to 20 non-zero cells; null where the"
         " activation moves in no cell", "probability"),
    prop("q", "float",
         "Benjamini-Hochberg over the tests of the run that can be called, and at least what the"
         " skewness of the run's effects implies; null where p is null or fewer than 6 cells have"
         " an effect", "probability"),
    prop("direct", "float",
         "mean effect on the target's pre-activation that the residual stream alone carries: every"
         " block's output is held at its clean value; null where it is not known (imported runs,"
         " runs without a direction null)", "dictionary units of the target"),
    prop("computed", "float",
         "mean effect on the target's pre-activation that the blocks computed: the total effect on"
         " it minus `direct`", "dictionary units of the target"),
    prop("computed_cells", "int",
         "cells whose computed effect has the sign of `computed`", "cells"),
    prop("z_direct", "float",
         "(direct - mean) / sd over random directions of the same length at the same positions",
         "sd of the direction null"),
    prop("z_computed", "float",
         "(computed - mean) / sd over random directions of the same length at the same positions",
         "sd of the direction null"),
    prop("p_computed", "float",
         "the larger of two p: sign flips of the computed effect over cells, and `z_computed`"
         " against t with draws - 1 degrees of freedom", "probability"),
    prop("q_computed", "float",
         "Benjamini-Hochberg of `p_computed` over the pairs of the run that can be called",
         "probability"),
    prop("q_direct", "float",
         "Benjamini-Hochberg of the p of `z_direct` over the pairs of the run that can be called",
         "probability"),
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
         "zero_edit, random_direction, feature_swap; half_even, half_odd: the source itself in"
         " every other cell"),
    *(p for p in AFFECTS_PROPERTIES if p.name in _OF_A_CONTROL),
    prop("q", "float",
         "q of this p among the live tests of the run: edges and controls share one threshold",
         "probability"),
)
