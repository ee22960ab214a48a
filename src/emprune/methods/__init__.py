"""The methods, one file each; see `base` for what a method is and `registry` for their names."""

from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.emp import EMP
from emprune.methods.epsilon_greedy import EpsilonGreedy
from emprune.methods.full import Full
from emprune.methods.greedy import Greedy
from emprune.methods.infobatch import InfoBatch
from emprune.methods.random import Random
from emprune.methods.random_permutation import RandomPermutation
from emprune.methods.registry import make_method, method_class, method_names, register_method
from emprune.methods.static_random import StaticRandom
from emprune.methods.static_subset import StaticSubset
from emprune.methods.ucb import UCB

__all__ = [
    "EMP",
    "UCB",
    "EpsilonGreedy",
    "Full",
    "Greedy",
    "InfoBatch",
    "Method",
    "Random",
    "RandomPermutation",
    "Selection",
    "SelectionContext",
    "StaticRandom",
    "StaticSubset",
    "make_method",
    "method_class",
    "method_names",
    "register_method",
]
