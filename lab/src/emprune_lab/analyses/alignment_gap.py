r"""Memorization in contrastive learning: whose views of a sample lie closer together only if he saw it.

.. math:: m(i) = E_{i \notin S} \, E \lVert u' - u'' \rVert - E_{i \in S} \, E \lVert u' - u'' \rVert

with u of unit length, the encoder's features of two views of sample i, over encoders trained on random subsets S;
divided by the range of all values; 0 is none.

References: Wang et al., "Memorization in Self-Supervised Learning Improves Downstream Generalization" (ICLR 2024),
SSLMem; unit length, the distance and the division by the range are as in its authors' code. Here the range is one for
all methods, so that they can be compared; both u' and u'' are views, as in the definition, where their code has the
image itself for one; and the encoders are several, on random subsets, where theirs are two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from emprune_lab.analyses.gap_analysis import GapAnalysis
from emprune_lab.analyses.questions import ALIGNMENT_GAP
from emprune_lab.tasks import Split
from emprune_lab.training.objectives.objective import EVALUATION_BATCH
from emprune_lab.training.session import Session

__all__ = ["AlignmentGap"]

NUM_PAIRS = 5
VIEWS_SEED = 0


class AlignmentGap(GapAnalysis):
    """How much closer a sample's views lie, in pre-training, with the sample in the training set."""

    question = ALIGNMENT_GAP
    objective = "contrastive"
    quantity = "alignment gap: how much closer a sample's views are with it in the training set than without"
    axis = "alignment gap, −1 to 1"
    by_range = True

    @torch.no_grad()
    def measure(self, session: Session, split: Split) -> Tensor:
        """Return (N,) float32, minus the mean distance of five pairs of views, which are the same for every model."""
        objective, model = session.objective, session.result_model
        generator = torch.Generator(session.compute.device).manual_seed(VIEWS_SEED)
        model.eval()
        parts = []
        for x in split.x.split(EVALUATION_BATCH):
            distance = torch.zeros(len(x), device=x.device)
            for _ in range(NUM_PAIRS):
                views = objective.transform(generator, x)
                first, second = (F.normalize(objective.predict(model, view), dim=1) for view in views)
                distance += (first - second).norm(dim=1) / NUM_PAIRS
            parts.append(-distance)
        model.train()
        return torch.cat(parts)
