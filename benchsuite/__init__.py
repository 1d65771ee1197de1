"""benchsuite: which neural-network pruning criteria work.

This module is the public API for plugin authors. Importing it does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchsuite._version import __version__

if TYPE_CHECKING:
    from benchsuite.concepts import Concept, ConceptPlugin, ConceptSample, ConceptSet
    from benchsuite.datasets import Augmentation, Dataset, DatasetPlugin, Split
    from benchsuite.errors import BenchsuiteError, DataError, PluginError, Unsupported
    from benchsuite.fingerprints import file_fingerprint
    from benchsuite.hookspecs import hookimpl
    from benchsuite.layers import CoupledGroup, GroupMember, Layer
    from benchsuite.models import ModelFamily, ModelPlugin
    from benchsuite.parameters import Plugin
    from benchsuite.recipes import TrainingRecipe
    from benchsuite.scoring.context import ScoringContext
    from benchsuite.scoring.gradients import GradientBatch, GradientStatistic
    from benchsuite.scoring.reductions import Reduction
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.store import TrialRecord

_HOMES = {
    "Augmentation": "datasets",
    "BenchsuiteError": "errors",
    "Concept": "concepts",
    "ConceptPlugin": "concepts",
    "ConceptSample": "concepts",
    "ConceptSet": "concepts",
    "CoupledGroup": "layers",
    "DataError": "errors",
    "Dataset": "datasets",
    "DatasetPlugin": "datasets",
    "GradientBatch": "scoring.gradients",
    "GradientStatistic": "scoring.gradients",
    "GroupMember": "layers",
    "Layer": "layers",
    "ModelFamily": "models",
    "ModelPlugin": "models",
    "Plugin": "parameters",
    "PluginError": "errors",
    "Reduction": "scoring.reductions",
    "Scorer": "scoring.scorer",
    "ScoringContext": "scoring.context",
    "Split": "datasets",
    "TrainingRecipe": "recipes",
    "TrialRecord": "store",
    "Unsupported": "errors",
    "file_fingerprint": "fingerprints",
    "hookimpl": "hookspecs",
}

__all__ = [  # noqa: RUF022 - the version first, then the names in order
    "__version__",
    "Augmentation",
    "BenchsuiteError",
    "Concept",
    "ConceptPlugin",
    "ConceptSample",
    "ConceptSet",
    "CoupledGroup",
    "DataError",
    "Dataset",
    "DatasetPlugin",
    "GradientBatch",
    "GradientStatistic",
    "GroupMember",
    "Layer",
    "ModelFamily",
    "ModelPlugin",
    "Plugin",
    "PluginError",
    "Reduction",
    "Scorer",
    "ScoringContext",
    "Split",
    "TrainingRecipe",
    "TrialRecord",
    "Unsupported",
    "file_fingerprint",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    """Import a public name at first use, so that the command line starts fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'benchsuite' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"benchsuite.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
