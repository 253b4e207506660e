"""How much single features matter for the model's own task: the masked-LM loss when each is ablated
(`loss_changes`), hubs beside features of the same firing rate (`choose_arms`), and the tests
(`importance`).
"""

from __future__ import annotations

from scircuit.tracing.interventions.feature_importance.arms import Arms, choose_arms
from scircuit.tracing.interventions.feature_importance.importance_tests import (
    Importance,
    importance,
)
from scircuit.tracing.interventions.feature_importance.loss_changes import LossChanges, loss_changes

__all__ = ["Arms", "Importance", "LossChanges", "choose_arms", "importance", "loss_changes"]
