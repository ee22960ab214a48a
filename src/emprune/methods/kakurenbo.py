"""Kakurenbo: hide what is predicted right and with confidence."""

import math
from dataclasses import dataclass
from typing import ClassVar

from emprune.checks import real_number
from emprune.indexing import num_true
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import sample, top_k

__all__ = ["Kakurenbo"]


@dataclass(frozen=True)
class Kakurenbo(Method):
    """Keep what is not predicted right with confidence, then the highest losses of the rest.

    Samples that the model predicts right and with confidence teach little, so they are hidden first, lowest losses
    first. The others are all kept, or a uniform K of them where they are more than K.

    "Right, with confidence τ or more" is L ≤ -log τ for any τ above 0.5. If p_y = exp(-L) is at least τ, no other class
    reaches p_y, so the label is what is predicted. The loss must be the cross-entropy of one prediction, without label
    smoothing. So no outputs are needed, and only the loss is remembered.

    Args:
        confidence: τ, above 0.5 and at most 1.

    Raises:
        ConfigError: If the value is out of range.

    References:
        KAKURENBO (Thao Nguyen et al., NeurIPS 2023, arXiv 2310.10102), with τ = 0.7, checked against its code. There
        the share F of lowest losses is hidden, but for what is wrong or unsure. So the cost follows from the losses. F
        falls in steps to 0.4 F, and the learning rate is multiplied by 1 / (1 - F). What was hidden gets a forward pass
        after each epoch. Its code for CIFAR-100 takes the softmax over the batch; here it is over the classes. Ours:
        exactly K, by the two rules above, an unchanged learning rate, and losses of the last visit.
    """

    confidence: float = 0.7
    name: ClassVar[str] = "kakurenbo"

    def __post_init__(self) -> None:
        meaning = "the predicted probability from which a sample may be hidden"
        object.__setattr__(
            self, "confidence", real_number("confidence", self.confidence, above=0.5, most=1, meaning=meaning)
        )

    def select(self, context: SelectionContext) -> Selection:
        """Choose all that may not be hidden and the highest losses beside it, or a uniform K where that is above K."""
        generator = context.generator("hide", context.epoch)
        shown = context.seen & (context.scores > -math.log(self.confidence))
        if num_true(shown) > context.num_kept:
            return Selection(sample(context.num_samples, context.num_kept, generator=generator, among=shown))
        # What may not be hidden has the highest losses, so it is part of the top k.
        return Selection(top_k(context.scores, context.num_kept, generator=generator, among=context.seen))
