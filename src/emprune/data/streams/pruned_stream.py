"""PrunedStream: a DataLoader over a stream, delivering the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import Any, Unpack

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from emprune.checks import whole_number
from emprune.data.around import LoaderAround
from emprune.data.cursor import Cursor
from emprune.data.delivery import Deal
from emprune.data.indexed import Delivered, unpacked
from emprune.data.own_pruner import Choice, as_pruner
from emprune.data.rebuild import Batching
from emprune.data.shard import Shard
from emprune.data.streams.checks import check_goes_on, check_streamable, read_legs
from emprune.data.streams.reader import StreamReader
from emprune.data.streams.requests import RequestSampler
from emprune.data.streams.route import Leg, Route
from emprune.data.streams.stream import ShardedStream, in_stream_order
from emprune.distributed import ProcessGroup
from emprune.errors import ConfigError
from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner
from emprune.randomness import untouched

__all__ = ["PrunedStream"]


class PrunedStream(LoaderAround):
    """Delivers a chosen part of a stream in each epoch: what is not in the plan is passed over before it is decoded.

    Batches come as ``(index, batch)``, as `PrunedLoader` gives them. `index` is each sample's position in the stream's
    index. The plan is the same global one: exact in cost, and independent of ranks and workers. Its order is the
    stream's: shards in random order, and samples shuffled within a window.

    The plan in this order is cut into equal parts for the ranks, and these for their workers. So any number of shards
    does. A shard that is cut is opened by both sides.

    Args:
        dataloader: A DataLoader over a `ShardedStream`, such as those of `emprune.integrations.webdataset` and
            `emprune.integrations.datasets`, with a batch size. On several ranks the batch size is that of one rank.
        method: How samples are chosen: `EMP()`, its name, or a `DataPruner` that was made before.
        num_epochs: Epochs in the run; or give `num_steps`.
        num_steps: Optimizer steps in the run, exactly; about `num_steps` · quantum / (`keep` · N) epochs.
        accumulation: Batches per optimizer step.
        shuffle_buffer: How far a sample may move, in samples that its worker hands out. A worker holds so many
            undecoded at most, and a batch. With 1 samples come in the order of their shards.
        process_group: The ranks that share the data; None for the default group, or one process.
        **choice: `keep`, `warmup_epochs`, `tail_epochs`, `seed`, and what else `PrunedLoader` takes, except
            `lengths`.

    Attributes:
        loader: The DataLoader inside, for a framework that needs one; it follows `set_epoch`.
        dataset: The stream.

    Raises:
        ConfigError: If the DataLoader is not over a stream with an index, makes no batches or hands them out in any
            order. Or if the budget cannot be met. While reading: if a shard does not hold what the index says.

    Example:
        >>> import emprune, torch
        >>> from emprune.data import KeyedStream
        >>> shards = {"a": [("0", 0.0), ("1", 1.0)], "b": [("2", 2.0), ("3", 3.0)]}
        >>> stream = KeyedStream(shards.__getitem__, shards=shards)
        >>> loader = PrunedStream(DataLoader(stream, batch_size=2), "random", num_epochs=2, keep=0.5)
        >>> all(x.equal(index.double()) for _ in loader.epochs() for index, x in loader)
        True
    """

    _fixed = LoaderAround._fixed | {"shuffle_buffer"}
    _batch_sampler: RequestSampler
    dataset: Any

    def __init__(
        self,
        dataloader: DataLoader[Any],
        method: Method | str | DataPruner,
        *,
        num_epochs: int | None = None,
        num_steps: int | None = None,
        accumulation: int = 1,
        shuffle_buffer: int = 1000,
        process_group: "ProcessGroup | None" = None,
        **choice: Unpack[Choice],
    ) -> None:
        stream = check_streamable(dataloader)
        accumulation, batching = whole_number("accumulation", accumulation, least=1), Batching.of(dataloader)
        pruner = as_pruner(
            method,
            num_samples=stream.index.num_samples,
            samples_per_batch=batching.batch_size,
            accumulation=accumulation,
            drop_last=batching.drop_last,
            num_epochs=num_epochs,
            num_steps=num_steps,
            process_group=process_group,
            **choice,
        )
        if pruner.lengths is not None:
            raise ConfigError(
                "`lengths` must be left out, because the order of a stream is that of its shards; got lengths. Make "
                "the stream without."
            )
        self.shuffle_buffer = whole_number("shuffle_buffer", shuffle_buffer, least=1, meaning="1 for none")
        self._route = Route(stream.index, self.shuffle_buffer, pruner.seed)
        self._legs: tuple[Leg, ...] = ()
        super().__init__(
            dataloader,
            pruner,
            accumulation=accumulation,
            batches=RequestSampler(batching.batch_size, self._route),
            indexed=StreamReader(stream),
        )

    @property
    def num_passed_over(self) -> int:
        """Samples that this rank's readers pass over in a new pass over the epoch: read past, and not trained on.

        In the first epoch each shard that is opened is read to its end, so that its samples are counted.
        """
        return self._batch_sampler.num_passed_over(self._begun.new_pass())

    def set_epoch(self, epoch: int) -> None:  # noqa: D102 - inherited
        current = self.pruner.epoch
        super().set_epoch(epoch)
        if epoch != current:
            self._legs = ()

    def state_dict(self) -> dict[str, Any]:  # noqa: D102 - inherited
        legs = [list(astuple(leg)) for leg in self._legs or (self._here,)]
        return {**super().state_dict(), "stream": self._saved | {"legs": legs}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state: the next pass starts at the first batch that was not delivered.

        With other ranks, workers or batches the rest of the epoch is divided again. What was delivered is not
        delivered a second time.

        Raises:
            StateError: If it is no state of such a run, or of another stream. Or if batches were delivered out of turn,
                because an error lost one before them, and the batches are others now. Nothing is loaded then.
        """
        legs, others = read_legs(state, self._saved), self._legs
        before = state["delivery"].get("num_delivered", 0) if isinstance(state["delivery"], Mapping) else 0
        here = Leg(before, *astuple(self._here)[1:])
        check_goes_on(state["delivery"], legs[-1], here)
        self._legs = legs if legs[-1].goes_on_as(here) else (*legs, here)
        if not before:
            self._legs = ()
        try:
            super().load_state_dict({name: value for name, value in state.items() if name != "stream"})
        except BaseException:
            self._legs = others
            raise

    @property
    def _saved(self) -> dict[str, Any]:
        """What a state and the run that loads it must share."""
        return {"index": self.dataset.index.fingerprint, "shuffle_buffer": self.shuffle_buffer}

    @property
    def _here(self) -> Leg:
        return Leg(0, self.pruner.world_size, max(1, self._given.num_workers), self.batch_size)

    @property
    def _deal(self) -> Deal:
        return partial(_dealt, route=self._route, legs=self._legs, here=self._here, **self._dealing)

    def _part(self, index: Tensor | None, batch_size: int) -> "_Part":
        return _Part(self.dataset, index, batch_size)

    def _dataset_length(self) -> int:
        return int(self.dataset.index.num_samples)

    def _fetch(self, index: Tensor) -> Delivered:
        with untouched():
            return unpacked(self.loader.collate_fn(self.loader.dataset.read(index.tolist())))  # type: ignore[attr-defined]

    def _ask_for(self, cursor: Cursor) -> None:
        self._batch_sampler.deliver(cursor, epoch=self.pruner.epoch, num_lanes=self._here.num_lanes)


def _dealt(
    plan: EpochPlan, *, num_before: int = 0, route: Route, legs: Sequence[Leg], here: Leg, **options: int
) -> Shard:
    """Return a rank's part of what is left of a plan; without anything delivered before, the whole epoch as of now."""
    order = route.order(plan.index, plan.epoch, legs if num_before else (here,))
    return Shard.dealt(order, num_before=num_before, **options)


class _Part(IterableDataset[Any]):
    """Some samples of a stream, or all, in its order, for a DataLoader with batches of this size."""

    def __init__(self, stream: ShardedStream, index: Tensor | None, batch_size: int) -> None:
        self._stream, self._batch_size = stream, batch_size
        self._positions = np.arange(len(stream)) if index is None else index.numpy()

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Any:
        return in_stream_order(self._stream, self._positions, batch_size=self._batch_size)
