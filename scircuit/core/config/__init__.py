"""What a user can choose, as frozen dataclasses.

Command line, Python signatures, manifest and docs are generated from them. Every field carries its
help text (`scircuit.core.config.option`).
"""

from __future__ import annotations

from scircuit.core.config.analysing import AnalyseConfig, AnnotateConfig, MatchConfig
from scircuit.core.config.comparing import CompareConfig
from scircuit.core.config.imports import (
    IMPORTS,
    GenesetsConfig,
    ImportAtlasConfig,
    ImportEdgesConfig,
    ImportGraphConfig,
    ImportMapConfig,
)
from scircuit.core.config.interventions import (
    AblateConfig,
    AttributeConfig,
    CircuitConfig,
    ImportanceConfig,
    SteerConfig,
)
from scircuit.core.config.option import DEFAULT_STUDY
from scircuit.core.config.predicting import PredictConfig
from scircuit.core.config.reproducing import ReproduceConfig
from scircuit.core.config.serving import ExportConfig, ServerConfig
from scircuit.core.config.tracing import (
    CellsConfig,
    CheckConfig,
    NullConfig,
    TraceConfig,
    TrainConfig,
)

__all__ = [
    "DEFAULT_STUDY",
    "IMPORTS",
    "AblateConfig",
    "AnalyseConfig",
    "AnnotateConfig",
    "AttributeConfig",
    "CellsConfig",
    "CheckConfig",
    "CircuitConfig",
    "CompareConfig",
    "ExportConfig",
    "GenesetsConfig",
    "ImportAtlasConfig",
    "ImportEdgesConfig",
    "ImportGraphConfig",
    "ImportMapConfig",
    "ImportanceConfig",
    "MatchConfig",
    "NullConfig",
    "PredictConfig",
    "ReproduceConfig",
    "ServerConfig",
    "SteerConfig",
    "TraceConfig",
    "TrainConfig",
]
