"""EMP's memory terms: pure functions from a model's outputs to one number per sample.

A memory term is added to the loss, ``score = loss + beta * memory``. Which terms the paper uses is not known for
certain. `prediction_entropy` is the probable reading for supervised tasks; `instance_entropy` and `view_alignment` are
reconstructions for contrastive ones (see docs/theory/paper.md and docs/theory/index.md).
"""

from emprune.memory.alignment import view_alignment
from emprune.memory.capture import capture_features, mean_pool
from emprune.memory.instances import instance_entropy
from emprune.memory.known import KnownEntropy
from emprune.memory.masked_logits import MaskedLogits
from emprune.memory.prediction import prediction_entropy
from emprune.memory.terms import MemoryName, MemoryTerm
from emprune.memory.views import ViewFeatures

__all__ = [
    "KnownEntropy",
    "MaskedLogits",
    "MemoryName",
    "MemoryTerm",
    "ViewFeatures",
    "capture_features",
    "instance_entropy",
    "mean_pool",
    "prediction_entropy",
    "view_alignment",
]
