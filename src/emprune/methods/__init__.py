"""The methods, one file each, and what a method of your own needs.

`Method` is the interface; `Selection`, `SelectionContext`, `Column` and `SampleStats` are what it is given and gives
back. `make_method` and `register_method` deal in names.
"""

from emprune.columns import Column
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.emp import EMP
from emprune.methods.epsilon_greedy import EpsilonGreedy
from emprune.methods.full import Full
from emprune.methods.greedy import Greedy
from emprune.methods.infobatch import InfoBatch
from emprune.methods.kakurenbo import Kakurenbo
from emprune.methods.order_dp import OrderDP
from emprune.methods.random import Random
from emprune.methods.random_permutation import RandomPermutation
from emprune.methods.reducible_loss import ReducibleLoss
from emprune.methods.registry import make_method, method_class, method_names, register_method
from emprune.methods.seta import SeTa
from emprune.methods.soft_selection import SoftSelection
from emprune.methods.static_random import StaticRandom
from emprune.methods.static_subset import StaticSubset
from emprune.methods.ucb import UCB
from emprune.stats import SampleStats

__all__ = [
    "EMP",
    "UCB",
    "Column",
    "EpsilonGreedy",
    "Full",
    "Greedy",
    "InfoBatch",
    "Kakurenbo",
    "Method",
    "OrderDP",
    "Random",
    "RandomPermutation",
    "ReducibleLoss",
    "SampleStats",
    "SeTa",
    "Selection",
    "SelectionContext",
    "SoftSelection",
    "StaticRandom",
    "StaticSubset",
    "make_method",
    "method_class",
    "method_names",
    "register_method",
]
