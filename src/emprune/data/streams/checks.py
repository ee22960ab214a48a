"""Which DataLoaders over streams can be pruned, and which saved states are of such a loader."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader

from emprune.data.rebuild import check_as_made
from emprune.data.streams.route import Leg
from emprune.data.streams.stream import ShardedStream
from emprune.errors import ConfigError, StateError

__all__ = ["check_goes_on", "check_streamable", "read_legs"]

_WRAPPERS = {
    "webdataset": "emprune.integrations.webdataset.WebDatasetStream(dataset, index)",
    "datasets": "emprune.integrations.datasets.HuggingFaceStream(dataset, index)",
}


def check_streamable(loader: DataLoader[Any]) -> ShardedStream:
    """Return a DataLoader's stream; raise ConfigError unless it has an index, and is loaded in batches and in order."""
    check_as_made(loader)
    stream = loader.dataset
    if not isinstance(stream, ShardedStream):
        kind = type(stream)
        wrapper = _WRAPPERS.get(kind.__module__.partition(".")[0], "emprune.data.KeyedStream(samples, index=index)")
        raise ConfigError(
            f"`dataloader` must be over a stream with an index of its samples; got {kind.__name__}. Give the "
            f"DataLoader {wrapper}; a dataset with positions takes PrunedLoader.",
            parameter="dataloader",
            value=loader,
        )
    if loader.batch_sampler is None:
        raise ConfigError(
            "`batch_size` must be a number, since the plan decides what a batch holds; got batch_size=None. Let the "
            "DataLoader make the batches: batch_size=...",
            parameter="batch_size",
            value=None,
        )
    if loader.num_workers and not getattr(loader, "in_order", True):
        raise ConfigError(
            "`in_order` must be True, because each worker reads its own part of a stream; got in_order=False. Leave "
            "it out.",
            parameter="in_order",
            value=False,
        )
    return stream


def read_legs(state: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[Leg, ...]:
    """Return the legs of a saved state.

    Args:
        state: What `PrunedStream.state_dict` returned.
        own: What the run that loads it must share with it.

    Raises:
        StateError: If it is no such state, or of another stream.
    """
    saved = state.get("stream") if isinstance(state, Mapping) else None
    if not isinstance(saved, Mapping) or set(saved) != {*own, "legs"} or "delivery" not in state:
        raise StateError(
            "The state must be a PrunedStream's; got another. Pass what loader.state_dict() returned, of a run on the "
            "same stream."
        )
    for name, value in own.items():
        if saved[name] != value:
            meaning = "the samples of the stream" if name == "index" else "how far they are shuffled"
            raise StateError(
                f"The saved `{name}` must be that of this run, {meaning}: {value!r}; got {saved[name]!r}. Make the "
                f"stream with the same {name}, or start a new run."
            )
    legs = saved["legs"]
    if not isinstance(legs, list) or not legs or not all(_is_leg(leg) for leg in legs):
        raise StateError(f"The saved `legs` must be lists of four numbers; got {legs!r:.60}. Load another state.")
    return tuple(Leg(*leg) for leg in legs)


def check_goes_on(delivery: object, saved: Leg, here: Leg) -> None:
    """Raise StateError where batches overtook others, and the rest would be in other batches.

    Args:
        delivery: The saved delivery.
        saved: How it was handed out.
        here: How it would go on.
    """
    ahead = isinstance(delivery, Mapping) and delivery.get("ahead")
    before, now = ((leg.batch_size, leg.num_lanes) for leg in (saved, here))
    if ahead and before != now:
        raise StateError(
            "A state in which batches came after one that an error lost must be loaded with the same batches, of "
            f"{before[0]} by {before[1]} reader(s); got batches of {now[0]} by {now[1]}. Finish the epoch with the "
            "batch size and the workers of before."
        )


def _is_leg(leg: Any) -> bool:
    return isinstance(leg, list) and len(leg) == 4 and all(isinstance(n, int) for n in leg) and min(leg[1:]) > 0
