"""WebDataset: its pipelines, read from tar shards that were indexed before.

    python -m emprune.integrations.webdataset shards/*.tar --out shards/index

makes an index: it reads the headers of the shards, and decodes nothing.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from emprune.data.streams.stream import LEFT_OUT, OpenShard, ShardedStream
from emprune.data.streams.tar import TarIndex, TarShard
from emprune.errors import ConfigError

try:
    import webdataset as wds
    from webdataset import cache, compat, filters, tariterators
    from webdataset.shardlists import SimpleShardList
except ModuleNotFoundError as error:
    if error.name != "webdataset":
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.webdataset needs the package 'webdataset': pip install 'emprune[streams]'",
        name="webdataset",
    ) from error

__all__ = ["TarIndex", "WebDatasetStream", "index_shards"]

_BY_LOADER = {
    "shuffle": "PrunedStream shuffles: shuffle_buffer=...",
    "detshuffle": "PrunedStream shuffles: shuffle_buffer=...",
    "batched": "the DataLoader makes batches: batch_size=...",
    "listed": "the DataLoader makes batches: batch_size=...",
    "unbatched": "a sample of the shards is one sample",
    "unlisted": "a sample of the shards is one sample",
    "islice": "the plan says which samples come",
    "rsample": "the plan says which samples come",
    "Cached": "PrunedStream reads other samples in each epoch",
    "LMDBCached": "PrunedStream reads other samples in each epoch",
}
"""Stages of a pipeline that look at more than one sample, and what stands for them."""


class WebDatasetStream(ShardedStream):
    """A WebDataset pipeline as a stream that can be pruned.

    The pipeline's shard list, opener and cache are kept. The stages after that, such as `decode`, `to_tuple` and `map`,
    are applied to the samples of the plan alone, one by one. The plan replaces what it does to
    shards: their shuffling, and their division among ranks and workers.

    A sample that a stage leaves out, as ``handler=wds.warn_and_continue`` does, counts as visited and is not observed.
    It is tried once more, and then comes last.

    Args:
        dataset: A `wds.WebDataset`, or a `wds.DataPipeline` with `wds.tarfile_to_samples`.
        index: What `index_shards` or the command made of the same shards, or the path of it. The shards may have moved.

    Raises:
        ConfigError: If the index is of other shards, or a stage looks at more than one sample.
    """

    def __init__(self, dataset: "wds.DataPipeline", index: TarIndex | str | os.PathLike[str]) -> None:
        if not isinstance(dataset, wds.DataPipeline):
            raise ConfigError(
                f"`dataset` must be a WebDataset pipeline; got {type(dataset).__name__}. Give the WebDataset, and not "
                "a loader of it.",
                parameter="dataset",
                value=dataset,
            )
        if not isinstance(index, TarIndex):
            index = _loaded(index)
        super().__init__(index)
        self._urls = _urls(dataset)
        self._open, self._stages = _taken_apart(dataset)
        self._invoke = dataset.invoke
        _check_shards(self._urls, index.shards)

    def open(self, shard: int) -> OpenShard:
        """Open a shard as the pipeline does."""
        return TarShard(self.index, shard, self._urls[shard], self._opened)  # type: ignore[arg-type]

    def decode(self, sample: Any) -> Any:
        """Do to one sample what the pipeline does after reading."""
        samples: Iterable[Any] = iter([sample])
        for stage in self._stages:
            samples = self._invoke(stage, samples)
        found = list(samples)
        if len(found) > 1:
            raise ConfigError(
                f"`dataset` must make one sample of each; got {len(found)} of {sample['__key__']!r}. Leave out the "
                "stage that makes more.",
                parameter="dataset",
                value=len(found),
            )
        return found[0] if found else LEFT_OUT

    def _opened(self, url: str) -> IO[bytes]:
        opened = next(iter(self._open([{"url": url}])), None)
        if opened is None:  # a handler such as warn_and_continue passes over the error
            raise ConfigError(
                f"`dataset` must open each shard; got nothing of {url!r}, and its handler hides why. Leave `handler` "
                "out to see it.",
                parameter="dataset",
                value=url,
            )
        stream: IO[bytes] = opened["stream"]
        return stream


def index_shards(shards: str | Iterable[str]) -> TarIndex:
    """Return the index of tar shards: their headers are read, and nothing is decoded.

    Args:
        shards: Paths or addresses as WebDataset takes them, "shards/{000..009}.tar" or a list.

    Raises:
        ConfigError: If a shard holds no sample, or a sample twice.
    """
    stage = cache.StreamingOpen()
    return TarIndex.of_tars(SimpleShardList(shards).urls, lambda url: next(iter(stage([{"url": url}])))["stream"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Index shards, and write the index to a file."""
    parser = argparse.ArgumentParser(
        prog="python -m emprune.integrations.webdataset",
        description="Index tar shards: read their headers, decode nothing. The index is what WebDatasetStream takes.",
    )
    parser.add_argument("shards", nargs="+", help="paths or addresses as WebDataset takes them")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    try:
        if options.out.exists():
            _loaded(options.out)  # refuses what is no index, and would be replaced
        index = index_shards([url for shards in options.shards for url in SimpleShardList(shards).urls])
    except (ConfigError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    index.save(options.out)
    print(f"{options.out}: {index.num_samples} samples in {len(index.shards)} shards")


def _loaded(path: str | os.PathLike[str]) -> TarIndex:
    if not Path(path).is_file():
        raise ConfigError(
            f"`index` must be a file that the index was saved to; got {os.fspath(path)!r}. Make it: python -m "
            f"emprune.integrations.webdataset SHARDS --out {os.fspath(path)}",
            parameter="index",
            value=os.fspath(path),
        )
    return TarIndex.load(path)


def _urls(dataset: "wds.DataPipeline") -> list[str]:
    shards = dataset.pipeline[0]
    if not isinstance(shards, SimpleShardList) or dataset.repetitions != 1:
        found = "a repeated one" if dataset.repetitions != 1 else type(shards).__name__
        raise ConfigError(
            f"`dataset` must be one pass over a list of shards; got {found}. Leave out resampling, repeat and "
            "with_epoch: PrunedStream makes the epochs.",
            parameter="dataset",
            value=found,
        )
    return list(shards.urls)


def _taken_apart(dataset: "wds.DataPipeline") -> tuple[Any, list[Any]]:
    """Return what opens shards in a pipeline, and the stages after they are read."""
    functions = [getattr(stage, "f", None) for stage in dataset.pipeline]
    opener = cache.StreamingOpen()
    if tariterators.tarfile_samples in functions:
        at = functions.index(tariterators.tarfile_samples)
        reading = [dataset.pipeline[at]]
    elif tariterators.group_by_keys in functions and tariterators.tar_file_expander in functions:
        at, expander = functions.index(tariterators.group_by_keys), functions.index(tariterators.tar_file_expander)
        opener, reading = dataset.pipeline[expander - 1], [dataset.pipeline[expander], dataset.pipeline[at]]
    else:
        raise ConfigError(
            "`dataset` must read tar shards; got a pipeline that does not. Use wds.WebDataset, or "
            "wds.tarfile_to_samples() in a wds.DataPipeline.",
            parameter="dataset",
            value=dataset,
        )
    for stage in reading:
        changed = [name for name, value in stage.kw.items() if name != "handler" and value is not None]
        if stage.args or changed:
            raise ConfigError(
                f"`{(changed or ['args'])[0]}` must be left out, because the index knows the files as they are; got "
                "a pipeline that has it. Choose and rename in a later stage.",
                parameter=(changed or ["args"])[0],
                value=None,
            )
    stages = [stage for stage in dataset.pipeline[at + 1 :] if stage is not compat.check_empty]
    for stage in stages:
        _check_stage(stage)
    return opener, stages


def _check_stage(stage: Any) -> None:
    made_by = getattr(stage, "f", None)
    name = type(stage).__name__ if made_by is None else str(getattr(made_by, "__name__", "")).removeprefix("_")
    if name in _BY_LOADER and isinstance(stage, (filters.FilterFunction, filters.PipelineStage)):
        raise ConfigError(
            f"`dataset` must look at one sample at a time after it is read; got the stage {name!r}. Leave it out: "
            f"{_BY_LOADER[name]}.",
            parameter="dataset",
            value=name,
        )


def _check_shards(urls: Sequence[str], indexed: Sequence[str]) -> None:
    names, expected = [url.rpartition("/")[2] for url in urls], [name.rpartition("/")[2] for name in indexed]
    if names != expected:
        differing = [name for name, other in zip(names, expected, strict=False) if name != other]
        found = differing[0] if differing else f"{len(names)} shards instead of {len(expected)}"
        raise ConfigError(
            f"`index` must be of the pipeline's shards, in their order; got {found!r} in the pipeline. Make the index "
            "of the same list.",
            parameter="index",
            value=found,
        )


if __name__ == "__main__":
    main()
