"""What a run knows at its end of each sample that it trained on, as a table."""

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

import emprune
from emprune.lab.store import RunFolder
from emprune.stats import BASE_COLUMNS

__all__ = ["finish_run", "fitted_fraction", "sample_table"]


def finish_run(folder: RunFolder, result: dict[str, Any], pruner: emprune.DataPruner, labels: Tensor) -> dict[str, Any]:
    """Write a run's result, with what it has fitted, and its samples, and return the result.

    Args:
        folder: The run's.
        result: All else that is known of it.
        pruner: As `sample_table` takes it.
        labels: Likewise.
    """
    samples = sample_table(pruner, labels)
    result = {**result, "fitted_fraction": fitted_fraction(samples)}
    folder.finish(result, samples)
    return result


def sample_table(pruner: emprune.DataPruner, labels: Tensor) -> pa.Table:
    """Return a row for each training sample, in the run's own order.

    `index`, `label`, `visits`, the last observed `loss`, what else the method remembers, and its `score`; null where a
    sample was never observed, or the method does not score.

    Args:
        pruner: The run's, with nothing pending: call `sync` first.
        labels: (N,) int64, as the run was given them.

    Example:
        >>> import torch
        >>> pruner = emprune.DataPruner(emprune.Greedy(), num_samples=3, num_epochs=2, keep=0.5)
        >>> sample_table(pruner, torch.tensor([1, 0, 1])).to_pylist()[0]
        {'index': 0, 'label': 1, 'visits': 0, 'loss': None, 'score': None}
    """
    stats, method = pruner.stats, pruner.method
    unseen = (~stats.seen).numpy()

    def known(values: Tensor) -> pa.Array:
        return pa.array(values.float().numpy(), mask=unseen)

    own = [column.name for column in stats.columns[len(BASE_COLUMNS) :]]
    return pa.table(
        {
            "index": pa.array(range(len(labels)), pa.int64()),
            "label": pa.array(labels.cpu().numpy(), pa.int64()),
            "visits": pa.array(stats["visits"].numpy(), pa.int32()),
            "loss": known(stats["loss"]),
            **{name: known(stats[name]) for name in own},
            "score": known(method.score(stats)) if method.scores else pa.nulls(len(labels), pa.float32()),
        }
    )


def fitted_fraction(samples: pa.Table) -> float:
    """Return the share of the samples whose last observed loss is below log 2: what is right had a probability above ½.

    The loss is that of the training pass, augmented, and as old as the last visit. Samples never observed do not count
    as fitted. In contrastive learning: images whose other view was likelier than all else in the batch together.

    Args:
        samples: As `sample_table` returns it.

    Example:
        >>> fitted_fraction(pa.table({"loss": [0.1, 0.6, 0.8, None]}))
        0.5
    """
    return int(pc.sum(pc.less(samples["loss"], math.log(2))).as_py() or 0) / len(samples)
