"""What a run knows at its end of each sample that it trained on, as a table."""

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

import emprune
from emprune.columns import BASE_COLUMNS
from emprune_lab.data.splits import Splits, Texts
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder

__all__ = ["MOST_LETTERS", "finish_run", "fitted_fraction", "sample_table", "shortened"]

MOST_LETTERS = 280
"""Of a text: the whole of every one would make a run's record larger than its data."""


def finish_run(folder: RunFolder, result: RunRecord, pruner: emprune.DataPruner, splits: Splits[Any]) -> RunRecord:
    """Write a run's result, with what it has fitted, and its samples, and return the result.

    Args:
        folder: The run's.
        result: All else that is known of it.
        pruner: As `sample_table` takes it.
        splits: As `sample_table` takes them.
    """
    samples = sample_table(pruner, splits)
    whole = RunRecord(result.settings, {**result.found, "fitted_fraction": fitted_fraction(samples)})
    folder.finish(whole, samples)
    return whole


def sample_table(pruner: emprune.DataPruner, splits: Splits[Any]) -> pa.Table:
    """Return a row for each training sample, in the run's own order.

    The columns are `index`, `label`, what the sample is, `visits`, the last observed `loss`, what else the method
    remembers, and its `score`. A value is null where a sample was never observed, or the method does not score.

    What the sample is stands in `class`, the name of its class, where classes have names. An image in the user's folder
    has its `path`. A text has its beginning, `text`, and a pair of texts that of the second, `text_2`.

    Args:
        pruner: The run's, with nothing pending: call `sync` first.
        splits: The run's data, with the labels it was given.

    Example:
        >>> import torch
        >>> from emprune_lab.data.splits import Split
        >>> pruner = emprune.DataPruner(emprune.methods.Greedy(), num_samples=3, num_epochs=2, keep=0.5)
        >>> train = Split(torch.zeros(3, 1, 8, 8), torch.tensor([1, 0, 1]), ["a/1.png", "b/1.png", "a/2.png"])
        >>> sample_table(pruner, Splits(train, train, classes=["b", "a"])).to_pylist()[0]
        {'index': 0, 'label': 1, 'class': 'a', 'path': 'a/1.png', 'visits': 0, 'loss': None, 'score': None}
    """
    stats, method = pruner.stats, pruner.method
    unseen = (~stats.seen).numpy()

    def known(values: Tensor) -> pa.Array:
        return pa.array(values.float().numpy(), mask=unseen)

    labels = splits.train.y.cpu()
    own = [column.name for column in stats.columns[len(BASE_COLUMNS) :]]
    return pa.table(
        {
            "index": pa.array(range(len(labels)), pa.int64()),
            "label": pa.array(labels.numpy(), pa.int64()),
            **_identities(splits),
            "visits": pa.array(stats["visits"].numpy(), pa.int32()),
            "loss": known(stats["loss"]),
            **{name: known(stats[name]) for name in own},
            "score": known(method.score(stats)) if method.scores else pa.nulls(len(labels), pa.float32()),
        }
    )


def _identities(splits: Splits[Any]) -> dict[str, pa.Array]:
    """What tells each training sample from others, as far as it is known."""
    train, columns = splits.train, {}
    if splits.classes is not None:
        names = [str(name) for name in splits.classes]
        columns["class"] = pa.array([names[label] for label in train.y.tolist()], pa.string())
    if train.paths is not None:
        columns["path"] = pa.array(train.paths, pa.string())
    if isinstance(train.x, Texts):
        for name, texts in (("text", train.x.first), ("text_2", train.x.second)):
            if texts is not None:
                columns[name] = pa.array([shortened(text) for text in texts], pa.string())
    return columns


def shortened(text: str) -> str:
    """Return a text, or its beginning where it is long.

    Example:
        >>> shortened("short"), len(shortened("long" * 1000))
        ('short', 282)
    """
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair can be stored nowhere
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} …"


def fitted_fraction(samples: pa.Table) -> float:
    """Return the share of the samples with a last observed loss below log 2: the label had a probability above ½.

    The loss is that of the training pass, augmented, and as old as the last visit. Samples never observed do not count
    as fitted. In contrastive learning, the other view of the image was likelier than all else in the batch together.

    Args:
        samples: As `sample_table` returns it.

    Example:
        >>> fitted_fraction(pa.table({"loss": [0.1, 0.6, 0.8, None]}))
        0.5
    """
    return int(pc.sum(pc.less(samples["loss"], math.log(2))).as_py() or 0) / len(samples)
