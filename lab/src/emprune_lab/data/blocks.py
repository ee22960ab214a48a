"""Documents as a causal language model reads them: byte-pair tokens, cut into blocks of one length.

The documents of one kind stand one after another, and blocks are cut from that row. The last token of a block is the
first of the next, so that each token is predicted once::

    document | end | document | end | document | end
    [ block 0     ][ block 1     ][ block 2     ]

Documents are held out before anything is tokenised, and the vocabulary is that of the others alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from emprune_lab.data.dividing import TEST_SEED, stratified_order
from emprune_lab.data.splits import Split, Splits

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["END", "LENGTH", "TOKENIZER", "VOCABULARY", "Decoded", "Document", "read_blocks", "write_blocks"]

LENGTH, VOCABULARY = 256, 4096
"""Predictions in a block, and tokens to choose from."""

END = "<|end|>"
"""The token after each document."""

TOKENIZER = "tokenizer.json"
PARTS = ("train", "test")
ONE_IN = 30
"""Of so many documents of a kind one is held out."""
AT_ONCE = 1000
"""Documents whose tokens are in memory in the form in which the tokenizer gives them."""


class Document(NamedTuple):
    """A text, what kind of text it is, and what it is called."""

    kind: str
    name: str
    text: str


class Decoded(Sequence[str]):
    """The texts of blocks, decoded when they are asked for.

    Args:
        folder: Where `write_blocks` wrote.
        blocks: (N, T) tokens.
    """

    def __init__(self, folder: Path, blocks: torch.Tensor) -> None:
        from tokenizers import Tokenizer

        self.tokenizer, self.blocks = Tokenizer.from_file(str(folder / TOKENIZER)), blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, position: int) -> str:  # type: ignore[override]
        text: str = self.tokenizer.decode(self.blocks[position].tolist(), skip_special_tokens=False)
        return text


def write_blocks(into: Path, documents: Sequence[Document], *, length: int = LENGTH) -> None:
    """Hold some documents out, learn a vocabulary from the others, and write it and both parts in blocks.

    Args:
        into: The folder. It gets the tokenizer, and a table of each part with a row a block: its `kind`, its first
            `document`, its `tokens`, and the `bytes` of text that it predicts.
        documents: In an order that is always the same.
        length: Predictions in a block.
    """
    kinds = sorted({document.kind for document in documents})
    labels = torch.tensor([kinds.index(document.kind) for document in documents])
    order = stratified_order(labels, seed=TEST_SEED)
    num_test = -(-len(order) // ONE_IN)
    train, test = ([documents[at] for at in sorted(part.tolist())] for part in (order[num_test:], order[:num_test]))
    tokenizer = _trained_tokenizer([document.text for document in train])
    tokenizer.save(str(into / TOKENIZER))
    for name, part in zip(PARTS, (train, test), strict=True):
        rows = [_blocks([document for document in part if document.kind == kind], tokenizer, length) for kind in kinds]
        pq.write_table(pa.concat_tables(rows), into / f"{name}.parquet")


def read_blocks(folder: Path) -> Splits:
    """Return the two parts that `write_blocks` wrote: `x` is (N, length + 1) int16, and `y` the kind."""
    tables = [pq.read_table(folder / f"{name}.parquet") for name in PARTS]
    kinds = sorted(set(tables[0]["kind"].unique().to_pylist()))
    train, test = (_split(table, kinds) for table in tables)
    return Splits(train, test, classes=kinds)


def _split(table: pa.Table, kinds: Sequence[str]) -> Split:
    tokens = table["tokens"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Split(
        torch.from_numpy(tokens.reshape(len(table), table.schema.field("tokens").type.list_size).copy()),
        torch.tensor([kinds.index(kind) for kind in table["kind"].to_pylist()]),
        table["document"].to_pylist(),
        torch.from_numpy(table["bytes"].to_numpy().copy()),
    )


def _trained_tokenizer(texts: Sequence[str]) -> "Tokenizer":
    """Return a tokenizer of byte pairs, as GPT-2 has it: it can write any text, and each token is some bytes of it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _blocks(documents: Sequence[Document], tokenizer: "Tokenizer", length: int) -> pa.Table:
    """Return documents of one kind as a table of blocks; what fills no block at the end is left out."""
    tokens, starts = _tokens(documents, tokenizer)
    count = max(0, len(tokens) - 1) // length
    windows = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[::length][:count] if count else tokens[:0]
    first = np.searchsorted(starts, np.arange(count) * length, side="right") - 1
    sizes = _sizes(tokenizer)
    return pa.table(
        {
            "kind": pa.array([documents[0].kind] * count if documents else [], pa.string()),
            "document": pa.array([documents[at].name for at in first], pa.string()),
            "tokens": pa.FixedSizeListArray.from_arrays(pa.array(windows.reshape(-1), pa.int16()), length + 1),
            "bytes": pa.array(sizes[windows.reshape(count, length + 1)[:, 1:]].sum(1), pa.int64()),
        }
    )


def _tokens(documents: Sequence[Document], tokenizer: "Tokenizer") -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the tokens of documents one after another, an end after each, and where each begins."""
    end = tokenizer.token_to_id(END)
    each = [np.array([*ids, end], np.int16) for ids in _encoded([document.text for document in documents], tokenizer)]
    starts = np.cumsum([0, *map(len, each)], dtype=np.int64)[:-1]
    return np.concatenate([np.empty(0, np.int16), *each]), starts


def _encoded(texts: Sequence[str], tokenizer: "Tokenizer") -> Iterator[list[int]]:
    for begin in range(0, len(texts), AT_ONCE):
        for encoding in tokenizer.encode_batch_fast(list(texts[begin : begin + AT_ONCE])):
            yield encoding.ids


def _sizes(tokenizer: "Tokenizer") -> NDArray[np.int64]:
    """Return how many bytes of text each token is, by its number: each letter of its name stands for one."""
    sizes = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for token, number in tokenizer.get_vocab().items():
        sizes[number] = 0 if token == END else len(token)
    return sizes
