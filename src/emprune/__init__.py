"""Dynamic data pruning for PyTorch: EMP and its rivals behind one interface, at exactly equal cost."""

from emprune.data import ArrayLoader, PrunedLoader
from emprune.errors import ConfigError, EmpruneError, EpochError, ObservationError, RankError, StateError
from emprune.features import capture_features
from emprune.losses import nt_xent, sequence_cross_entropy
from emprune.memory import MaskedLogits, instance_entropy, prediction_entropy, view_alignment
from emprune.methods import (
    EMP,
    UCB,
    EpsilonGreedy,
    Full,
    Greedy,
    InfoBatch,
    Method,
    Random,
    RandomPermutation,
    Selection,
    SelectionContext,
    StaticRandom,
    StaticSubset,
    make_method,
    method_class,
    method_names,
    register_method,
)
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner
from emprune.schedule import Schedule
from emprune.stats import Column, SampleStats
from emprune.summary import PrunerSummary

__version__ = "0.1.0"

__all__ = [
    "EMP",
    "UCB",
    "ArrayLoader",
    "Column",
    "ConfigError",
    "DataPruner",
    "EmpruneError",
    "EpochError",
    "EpochPlan",
    "EpsilonGreedy",
    "Full",
    "Greedy",
    "InfoBatch",
    "MaskedLogits",
    "Method",
    "ObservationError",
    "PrunedLoader",
    "PrunerSummary",
    "Random",
    "RandomPermutation",
    "RankError",
    "SampleStats",
    "Schedule",
    "Selection",
    "SelectionContext",
    "StateError",
    "StaticRandom",
    "StaticSubset",
    "capture_features",
    "instance_entropy",
    "make_method",
    "method_class",
    "method_names",
    "nt_xent",
    "prediction_entropy",
    "register_method",
    "sequence_cross_entropy",
    "view_alignment",
]
