r"""Memorization in classification: who is right about a sample only if he saw it.

.. math:: \mathrm{mem}(i) = \Pr[h(x_i) = y_i \mid i \in S] - \Pr[h(x_i) = y_i \mid i \notin S]

over models h trained on random subsets S. References: Feldman & Zhang, "What Neural Networks Memorize and Why:
Discovering the Long Tail via Influence Estimation" (NeurIPS 2020), with thousands of runs where here are a few, so that
a single sample's estimate is coarse; the distribution, and its mean above all, is what to read.
"""

from torch import Tensor

from emprune.lab.analyses.base import Analysis
from emprune.lab.session import Session
from emprune.lab.tasks import Split

__all__ = ["MEMORIZATION"]


def is_right(session: Session, split: Split) -> Tensor:
    """Return (N,) float32, 1 where the class is named right, without augmentation."""
    logits = session.objective.predict_all(session.result_model, split.x)
    return (logits.argmax(1) == split.y).float()


MEMORIZATION = Analysis(
    name="memorization",
    quantity="memorization: accuracy on a sample with it in the training set, minus without",
    objective="classification",
    measure=is_right,
    by_range=False,
)
