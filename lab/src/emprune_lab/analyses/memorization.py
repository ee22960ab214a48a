r"""Memorization in classification: who is right about a sample only if he saw it.

.. math:: \mathrm{mem}(i) = \Pr[h(x_i) = y_i \mid i \in S] - \Pr[h(x_i) = y_i \mid i \notin S]

over models h trained on random subsets S. References: Feldman & Zhang, "What Neural Networks Memorize and Why:
Discovering the Long Tail via Influence Estimation" (NeurIPS 2020), with thousands of runs where here are a few, so that
a single sample's estimate is coarse; the distribution, and its mean above all, is what to read.
"""

from torch import Tensor

from emprune_lab.analyses.gap_analysis import GapAnalysis
from emprune_lab.analyses.questions import MEMORIZATION
from emprune_lab.tasks import Split
from emprune_lab.training.session import Session

__all__ = ["Memorization"]


class Memorization(GapAnalysis):
    """How much likelier a sample's class is named with the sample in the training set."""

    question = MEMORIZATION
    quantity = "memorization: accuracy on a sample with it in the training set, minus without"
    axis = "memorization, −1 to 1"

    def measure(self, session: Session, split: Split) -> Tensor:
        """Return (N,) float32, 1 where the class is named right, without augmentation."""
        logits = session.objective.predict_all(session.result_model, split.x)
        return (logits.argmax(1) == split.y).float()
