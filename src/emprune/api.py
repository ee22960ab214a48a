"""What `import emprune` offers at the top level; imported when the first of it is asked for, because torch is slow."""

from emprune import errors as errors
from emprune import losses as losses
from emprune import memory as memory
from emprune import methods as methods
from emprune import schedule as schedule
from emprune import selection as selection
from emprune import summary as summary
from emprune import suspects as suspects
from emprune.data import ArrayLoader, PrunedLoader, PrunedStream
from emprune.errors import ConfigError, EmpruneError
from emprune.groups import Groups
from emprune.methods import EMP, Full, Greedy, InfoBatch, Method, Random, RandomPermutation
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner

__all__ = [
    "EMP",
    "ArrayLoader",
    "ConfigError",
    "DataPruner",
    "EmpruneError",
    "EpochPlan",
    "Full",
    "Greedy",
    "Groups",
    "InfoBatch",
    "Method",
    "PrunedLoader",
    "PrunedStream",
    "Random",
    "RandomPermutation",
]
