"""Every published value that is looked at, by theme, in the order of the page."""

from __future__ import annotations

from scircuit.analysis.reproduction.checks import Theme
from scircuit.analysis.reproduction.exhaustive.annotated_hubs import ANNOTATION_BIAS
from scircuit.analysis.reproduction.exhaustive.edge_calibration import CALIBRATION
from scircuit.analysis.reproduction.exhaustive.later_results import LATER
from scircuit.analysis.reproduction.exhaustive.steering import STEERING
from scircuit.analysis.reproduction.exhaustive.steering_panel import PANEL
from scircuit.analysis.reproduction.exhaustive.tail import TAIL
from scircuit.analysis.reproduction.exhaustive.triplets import TRIPLETS
from scircuit.analysis.reproduction.selective.random_targets import RANDOM
from scircuit.analysis.reproduction.selective.selective_chance import CHANCE
from scircuit.analysis.reproduction.selective.selective_figures import FIGURES
from scircuit.analysis.reproduction.selective.selective_study import SELECTIVE

THEMES: tuple[Theme, ...] = (
    *(CALIBRATION, TAIL, ANNOTATION_BIAS, TRIPLETS, STEERING, PANEL, LATER),
    *(SELECTIVE, FIGURES, CHANCE, RANDOM),
)
