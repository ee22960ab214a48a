"""Dynamic data pruning for PyTorch: EMP and its baselines behind one interface, at exactly equal cost.

The top level holds what a training script needs. The rest is in the public modules: `emprune.methods` (every method,
and what one of your own needs), `emprune.losses`, `emprune.memory`, `emprune.selection`, `emprune.errors`,
`emprune.schedule` and `emprune.summary`.
"""

from emprune import errors as errors
from emprune import losses as losses
from emprune import memory as memory
from emprune import methods as methods
from emprune import schedule as schedule
from emprune import selection as selection
from emprune import summary as summary
from emprune.data import ArrayLoader, PrunedLoader
from emprune.errors import ConfigError, EmpruneError, EmpruneWarning
from emprune.methods import EMP, Full, Greedy, InfoBatch, Method, Random, RandomPermutation
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner

__version__ = "0.2.0.dev0"

__all__ = [
    "EMP",
    "ArrayLoader",
    "ConfigError",
    "DataPruner",
    "EmpruneError",
    "EmpruneWarning",
    "EpochPlan",
    "Full",
    "Greedy",
    "InfoBatch",
    "Method",
    "PrunedLoader",
    "Random",
    "RandomPermutation",
]
