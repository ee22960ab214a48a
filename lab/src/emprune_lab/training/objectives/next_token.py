"""Causal language modelling: each token of a block is predicted from those before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emprune.losses import sequence_cross_entropy
from emprune.memory import MaskedLogits
from emprune_lab.data.splits import Split
from emprune_lab.models.language import make_language_model
from emprune_lab.tasks import BlockTask
from emprune_lab.training.objectives.objective import Losses, Network, Objective

__all__ = ["LanguageModel"]


@dataclass(frozen=True)
class LanguageModel(Objective):
    """Pre-train on blocks of tokens. Scored by bits per byte of the held-out documents' text.

    A block's loss is the mean over its tokens, and so is EMP's memory term, the entropy. Both are read from one
    log-softmax, which the backward pass needs too.
    """

    task: BlockTask
    evaluation_batch: ClassVar[int] = 32

    def make_model(self) -> nn.Module:  # noqa: D102 - inherited
        return make_language_model(self.training.model, vocabulary=self.task.vocabulary, length=self.task.length)

    def arrays(self, train: Split) -> tuple[Tensor, ...]:
        """Return the blocks alone."""
        return (train.x,)

    def prepared(self, x: Tensor) -> Tensor:
        """Return the blocks as int64."""
        return x.long()

    def transform(self, generator: torch.Generator, *arrays: Tensor) -> Sequence[Tensor]:
        """Return the blocks as int64; nothing is augmented."""
        return tuple(map(self.prepared, arrays))

    def losses(self, network: Network, batch: Sequence[Tensor]) -> Losses:
        """Return each block's mean loss over its tokens, and the log-probabilities for the memory term."""
        (blocks,) = batch
        known = self.log_probabilities(network, blocks)
        losses = sequence_cross_entropy(known, blocks[:, 1:], normalized=True)
        return Losses(optimised=losses, scored=losses.detach(), outputs=MaskedLogits(known.detach(), normalized=True))

    def predict(self, network: Network, x: Tensor) -> Tensor:
        """Return (B, 2): the sum of the tokens' losses in nats, and how many tokens were the likeliest."""
        known, targets = self.log_probabilities(network, x), x[:, 1:]
        losses = sequence_cross_entropy(known, targets, normalized=True, reduction="sum")
        return torch.stack([losses, (known.argmax(-1) == targets).float().sum(1)], dim=1)

    def log_probabilities(self, network: Network, blocks: Tensor) -> Tensor:
        """Return (B, T, V) float32 of the tokens after the first."""
        return F.log_softmax(self.run(network, blocks[:, :-1]).logits.float(), dim=-1)

    def score(self, model: nn.Module, split: Split, *, train: Split) -> dict[str, Any]:
        """Return bits per byte as `score`, a token's mean loss, and how often the likeliest was right, in per cent."""
        assert split.num_bytes is not None, "as all blocks have"
        found = self.predict_all(model, split.x).double().cpu()
        nats, right = found.sum(0).tolist()
        num_tokens, kinds = split.x[:, 1:].numel(), split.y.cpu()
        by_kind = torch.zeros(self.task.num_classes, 2, dtype=torch.float64)
        by_kind[:, 0].index_add_(0, kinds, found[:, 1])
        by_kind[:, 1] = kinds.bincount(minlength=self.task.num_classes) * (split.x.shape[1] - 1)
        return {
            "score": nats / math.log(2) / int(split.num_bytes.sum()),
            "loss": nats / num_tokens,
            "accuracy": 100 * right / num_tokens,
            "class_accuracy": [100 * own / size if size else None for own, size in by_kind.tolist()],
        }
