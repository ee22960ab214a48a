"""Texts as a language model reads them: tokenised once for all the runs of a process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from emprune_lab.data.splits import Split, Texts
from emprune_lab.models.pretrained import load_tokenizer

__all__ = ["Encoded", "Encoder"]

KNOWN_PARTS = 8


class Encoded(Dataset[dict[str, Any]]):
    """Tokenised texts and their labels; the collator pads them.

    Args:
        tokens: For each text what the model takes of it, lists of integers of one length.
        labels: N classes.
    """

    def __init__(self, tokens: Sequence[dict[str, list[int]]], labels: Sequence[int]) -> None:
        self.tokens, self.labels = tokens, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {**self.tokens[position], "labels": self.labels[position]}

    def by_length(self) -> "Encoded":
        """Return the same in order of length, which saves padding where the order is of no consequence."""
        order = sorted(range(len(self)), key=lambda position: len(self.tokens[position]["input_ids"]))
        return self.take(order)

    def take(self, positions: Sequence[int]) -> "Encoded":
        """Return some of the texts, in the order given."""
        return Encoded(
            [self.tokens[position] for position in positions], [self.labels[position] for position in positions]
        )


@dataclass(frozen=True)
class Encoder:
    """Tokenises texts as a model reads them; the same texts once.

    Args:
        model: The model's name.
        max_length: Tokens after which a text is cut off, unless the model's own limit is lower.
        data_dir: Where MiniLM is cached; None is the user's cache.
    """

    model: str
    max_length: int
    data_dir: Path | None = None

    def __call__(self, split: Split[Texts]) -> Encoded:
        """Return texts and their labels, in their order."""
        return Encoded(_tokens(split.x, self.model, self.max_length, self.data_dir), split.y.tolist())


@lru_cache(maxsize=KNOWN_PARTS)
def _tokens(texts: Texts, model: str, max_length: int, data_dir: Path | None) -> list[dict[str, list[int]]]:
    tokenizer = load_tokenizer(model, data_dir=data_dir)
    limit = min(max_length, tokenizer.model_max_length)
    second = None if texts.second is None else list(texts.second)
    columns = tokenizer(list(texts.first), second, truncation=True, max_length=limit)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
