"""EMP: the loss plus a memory term."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from emprune.checks import LARGEST_FLOAT32, real_number
from emprune.columns import Column
from emprune.errors import MethodWarning
from emprune.memory.prediction import prediction_entropy
from emprune.memory.terms import MemoryName, MemoryTerm, memory_name, memory_term, takes_features
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.pool import pool_of_gap, top_of_pool
from emprune.stats import SampleStats

__all__ = ["EMP", "TWO_CLASS_BETA"]

TWO_CLASS_BETA = 3.591
"""On two classes L + beta · H ranks exactly as L below this: 1 / max_p p log((1 - p) / p), at p = 0.2178."""


@dataclass(frozen=True)
class EMP(Method):
    """Keep the highest loss + beta · memory of a random pool.

    The loss alone prefers what is not yet stored in the weights. It visits each sample so rarely that little is
    remembered (low-frequency learning). The memory term adds to the score of what is stored.

    Args:
        beta: Weight of the memory term, finite and at least 0; 0 is the loss alone, as greedy has it.
        memory: The term, by name or as a function from the model's outputs to (B,). "prediction_entropy" is that of the
            logits. "instance_entropy" and "view_alignment" are for contrastive learning: they take hidden features,
            from `capture_features`. `functools.partial(instance_entropy, temperature=0.1)` binds an option. A custom
            function needs a name that a saved state can keep: no lambda, no function inside another.
        pool: Candidates per kept sample, at least 1. The candidate pool is drawn uniformly from the seen samples, and
            the K best of it are kept. 1 is random; None is hard top-K over all seen samples, the paper's form. "gap"
            is a hypothesis of ours: 1 + exp(-gap / 0.1), where the gap is the validation loss minus the training loss,
            or 0 where that is negative. It needs `observe_validation` in each epoch.

    Raises:
        ConfigError: If a value is out of range.

    References:
        EMP (arXiv 2408.16031), which has no code. Certain: the score is the loss plus beta times a memory term, and is
        dynamic. Ours: that the term is the prediction's entropy and enters with a plus. Ours: both contrastive terms,
        and beta = 3. Ours: scores are from the last visit (stale), without warm-up and tail. The pool is that of
        `OrderDP`; its use here is ours. Its default is 2: at keep 0.1 hard top-K was below it on three of five tasks,
        and above it on none (docs/evidence/study.md).
    """

    beta: float = 3.0
    memory: MemoryName | MemoryTerm = "prediction_entropy"
    pool: float | Literal["gap"] | None = 2.0
    name: ClassVar[str] = "emp"
    columns: ClassVar[tuple[Column, ...]] = (Column("memory", "the memory term at the last visit"),)
    needs_outputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        beta = real_number("beta", self.beta, least=0, most=LARGEST_FLOAT32, meaning="the memory term's weight")
        object.__setattr__(self, "beta", beta)
        memory_term(self.memory)
        memory_name(self.memory)
        if self.pool is not None and self.pool != "gap":
            meaning = "candidates per kept sample, or None for top-K over all, or 'gap'"
            object.__setattr__(self, "pool", real_number("pool", self.pool, least=1, meaning=meaning))

    @property
    def takes_features(self) -> bool:
        """Whether the memory term is one of contrastive learning."""
        return takes_features(self.memory)

    @property
    def needs_gap(self) -> bool:
        """Whether the pool follows the gap."""
        return self.pool == "gap"

    @staticmethod
    def paper(*, beta: float = 3.0) -> "EMP":
        """Return the plain reading of the paper, whatever the defaults come to be.

        Hard top-K over all the data, of the last visit's loss plus beta times the prediction's entropy.

        Args:
            beta: The paper's value is not known; 3 is our choice.

        Example:
            >>> EMP.paper()
            EMP(beta=3.0, memory='prediction_entropy', pool=None)
        """
        return EMP(beta=beta, memory="prediction_entropy", pool=None)

    def check_batch(self, losses: Tensor, outputs: Any) -> None:
        """Warn where the memory term cannot change the order: two classes, and a low beta."""
        if isinstance(outputs, Tensor) and outputs.ndim == 2 and self.ranks_by_loss(outputs.shape[1]):
            warnings.warn(
                f"On two classes EMP with beta={self.beta} below {TWO_CLASS_BETA} ranks by the loss alone: the entropy "
                "cannot change the order. Raise `beta`, or use OrderDP, which needs no outputs.",
                MethodWarning,
                stacklevel=4,
            )

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        """Return the memory term of the model's outputs."""
        return {"memory": memory_term(self.memory)(outputs)}

    def deferred(self, losses: Tensor, outputs: Any) -> Tensor | None:
        """Return (B, C) logits if the term is their entropy."""
        if memory_term(self.memory) is not prediction_entropy or not isinstance(outputs, Tensor):
            return None
        shape = outputs.shape
        if len(shape) != 2 or shape[0] != losses.shape[0] or shape[1] < 2 or not outputs.is_floating_point():
            return None  # to be measured, and refused, at once
        return outputs

    def ranks_by_loss(self, num_classes: int) -> bool:
        """Return whether the memory term cannot change the order, as the entropy with a low beta on two classes."""
        entropy = memory_term(self.memory) is prediction_entropy
        return num_classes == 2 and entropy and self.beta < TWO_CLASS_BETA

    def score(self, stats: SampleStats) -> Tensor:
        """Return loss + beta · memory."""
        scores = torch.add(stats["loss"], stats["memory"], alpha=self.beta)
        return scores.clamp_(-LARGEST_FLOAT32, LARGEST_FLOAT32)  # unseen samples stay NaN

    def settings(self) -> dict[str, Any]:
        """Return the options, the memory term by name."""
        return {**super().settings(), "memory": memory_name(self.memory)}

    def __repr__(self) -> str:
        return f"EMP({', '.join(f'{option}={value!r}' for option, value in self.settings().items())})"

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k of the pool."""
        if self.pool != "gap":
            return top_of_pool(context, self.pool)
        assert context.gap is not None, "as needs_gap asks"
        return top_of_pool(context, pool_of_gap(context.gap))
