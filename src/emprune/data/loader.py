"""PrunedLoader: the user's DataLoader, delivering the plan."""

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from emprune.checks import whole_number
from emprune.data.around import LoaderAround
from emprune.data.cursor import Cursor
from emprune.data.indexed import Delivered, IndexedDataset, unpacked
from emprune.data.own_pruner import as_pruner
from emprune.data.rebuild import Batching, check_prunable, check_sampler_ranks, weights_of
from emprune.data.sampler import PlanBatchSampler
from emprune.distributed import ProcessGroup
from emprune.engine.initial import Initial
from emprune.engine.plan_options import GroupsLike, PinnedLike, WeightsLike
from emprune.engine.recording import RecordLike
from emprune.lengths import Lengths
from emprune.methods.base import Method
from emprune.pruner import DataPruner, NonfinitePolicy
from emprune.randomness import untouched

__all__ = ["PrunedLoader"]


class PrunedLoader(LoaderAround):
    """Delivers a chosen part of the data in each epoch, through a DataLoader made like the given one.

    Batches come as ``(index, batch)``. `index` is the position of each sample in the dataset, (B,) int64 on the CPU,
    and `batch` is what the given DataLoader would give. Hand the index back with the losses: `reduce`.

    The given DataLoader is not changed and not iterated. One of the same class is built around its dataset, collate
    function, workers and every other argument. The plan replaces its sampler, and is in random order. The
    collate function must keep the order of its samples; one that drops samples returns `KeptSamples`.

    Args:
        dataloader: A DataLoader (or subclass, such as torchdata's StatefulDataLoader) over a map-style dataset, with a
            random, sequential, distributed or weighted sampler. On several ranks its batch size is that of one rank.
        method: How samples are chosen: `EMP()`, its name, or a `DataPruner` that was made before.
        num_epochs: Epochs in the run; or give `num_steps`.
        num_steps: Optimizer steps in the run, exactly; about `num_steps` · quantum / (`keep` · N) epochs.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1]. The papers' pruning rate is 1 - keep. Only
            `Full()` needs none.
        warmup_epochs: Full-data epochs at the start, paid for by the pruned ones.
        tail_epochs: Full-data epochs at the end, paid for by the pruned ones; None for the method's default, which is
            0 for all but InfoBatch.
        seed: Seed of all draws, and of workers with each batch. In your process no global generator is touched.
        accumulation: Batches per optimizer step.
        nonfinite: What happens to samples with a NaN or infinite loss: see `DataPruner`.
        lengths: (N,) integers, such as the tokens of each sample. Each step then gets samples of like length, and
            padding costs little. Plan, cost and resume stay exact; the steps come in random order.
        groups: (N,) labels, such as classes, or `Groups`. Each pruned epoch then has a quota of each group, and the
            method chooses within the group. Labels alone keep the groups' shares as they are in the data.
        weights: (N,) numbers above 0. An epoch's candidates are then drawn by them, 2 for each sample that is kept and
            at most half of the others, and the method chooses from these. `Random` keeps what is drawn. A DataLoader
            with a `WeightedRandomSampler` gives its weights by itself.
        pinned: Positions of samples that every epoch visits, or (N,) True and False. They are part of the cost.
        guard: A sample that was predicted wrong in each of its last so many visits is set aside. See `DataPruner`.
        initial: What an earlier run on the same data knew of the samples: a frame, a Parquet file or a state. The first
            epoch then chooses by it. See `DataPruner`.
        data_key: Text by which states, frames and `initial` know the data again. See `DataPruner`.
        record: Columns to remember beside the method's, such as "all"; they find wrong labels. See `DataPruner`.
        process_group: The ranks that share the data; None for the default group, or one process.

    Attributes:
        loader: The DataLoader inside, for a framework that needs one; it follows `set_epoch`. The state of a
            StatefulDataLoader is this loader's.
        dataset: The user's dataset. Its `set_epoch`, if it has one, is called in each epoch.

    Raises:
        ConfigError: If the DataLoader cannot be pruned (an IterableDataset, `batch_size=None`, a sampler that chooses),
            or the budget cannot be met.

    Example:
        >>> import emprune, torch
        >>> from torch.utils.data import TensorDataset
        >>> dataset = TensorDataset(torch.arange(8.0))
        >>> dataloader = DataLoader(dataset, batch_size=2, shuffle=True)
        >>> loader = PrunedLoader(dataloader, emprune.EMP(), num_epochs=2, keep=0.5)
        >>> for epoch in loader.epochs():
        ...     for index, (x,) in loader:
        ...         loss = loader.reduce(index, x, torch.randn(2, 5))
        >>> loader.total_steps
        4
    """

    _batch_sampler: PlanBatchSampler

    def __init__(
        self,
        dataloader: DataLoader[Any],
        method: Method | str | DataPruner,
        *,
        num_epochs: int | None = None,
        num_steps: int | None = None,
        keep: float | None = None,
        warmup_epochs: int = 0,
        tail_epochs: int | None = None,
        seed: int = 0,
        accumulation: int = 1,
        nonfinite: NonfinitePolicy = "error",
        lengths: Lengths | None = None,
        groups: GroupsLike | None = None,
        weights: WeightsLike | None = None,
        pinned: PinnedLike | None = None,
        guard: int | None = None,
        initial: "Initial | None" = None,
        data_key: str | None = None,
        record: RecordLike | None = None,
        process_group: "ProcessGroup | None" = None,
    ) -> None:
        check_prunable(dataloader)
        accumulation, batching = whole_number("accumulation", accumulation, least=1), Batching.of(dataloader)
        pruner = as_pruner(
            method,
            num_samples=len(dataloader.dataset),  # type: ignore[arg-type]
            samples_per_batch=batching.batch_size,
            accumulation=accumulation,
            drop_last=batching.drop_last,
            num_epochs=num_epochs, num_steps=num_steps, keep=keep, warmup_epochs=warmup_epochs, tail_epochs=tail_epochs,
            seed=seed, nonfinite=nonfinite, lengths=lengths, groups=groups,
            weights=weights_of(batching.sampler, weights, method), pinned=pinned, guard=guard, initial=initial,
            data_key=data_key, record=record, process_group=process_group,
        )  # fmt: skip
        check_sampler_ranks(batching.sampler, pruner.world_size)
        batches, indexed = PlanBatchSampler(batching.batch_size), IndexedDataset(dataloader.dataset)
        super().__init__(dataloader, pruner, accumulation=accumulation, batches=batches, indexed=indexed)

    def _part(self, index: Tensor | None, batch_size: int) -> Dataset[Any]:
        return self.dataset if index is None else Subset(self.dataset, index.tolist())

    def _dataset_length(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def _fetch(self, index: Tensor) -> Delivered:
        with untouched():
            return unpacked(self.loader.collate_fn(self.loader.dataset.fetch(index.tolist())))  # type: ignore[attr-defined]

    def _ask_for(self, cursor: Cursor) -> None:
        self._batch_sampler.deliver(cursor.rest, last=cursor.last)
