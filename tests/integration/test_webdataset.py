"""WebDataset: real shards, real pipelines; the samples are those that WebDataset itself reads."""

import bz2
import gc
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader

import emprune
from emprune.data.streams.tar import TarIndex
from emprune.integrations.webdataset import WebDatasetStream, index_shards, main
from emprune.testing.loaders import Loader, LoaderContract
from tests.data.helpers import assert_every_loss_is_its_own, loss_of
from tests.integration.webshards import NUM_SAMPLES, SIZES, pipeline, write_shards
from tests.messages import Raises


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path)


def make(stream: Any, **options: Any) -> emprune.PrunedStream:
    settings: dict[str, Any] = {"batch_size": 4, **options}
    return emprune.PrunedStream(
        DataLoader(stream, **settings), emprune.Greedy(), num_epochs=3, keep=0.5, shuffle_buffer=5
    )


def train(loader: emprune.PrunedStream) -> list[int]:
    delivered: list[int] = []
    for index, (image, label) in loader:
        assert index.equal(label)
        assert image.shape == (len(index), 4, 4, 3)
        assert (image == index.view(-1, 1, 1, 1)).all()
        loader.reduce(index, loss_of(label))
        delivered += index.tolist()
    return delivered


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # WebDataset's files
def test_all_samples_are_those_that_webdataset_reads(shards: list[str]) -> None:
    dataset = pipeline(shards)
    stream = WebDatasetStream(dataset, index_shards(shards))
    for (image, label), (same, as_well) in zip(dataset, stream, strict=True):
        assert label == as_well
        assert (image == same).all()
    opened = stream.open(0)
    for row, theirs in enumerate(islice(wds.WebDataset(shards, shardshuffle=False), SIZES[0])):
        assert opened.read(row) == {key: value for key, value in theirs.items() if key != "__local_path__"}
    opened.close()
    gc.collect()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_trains_on_the_plan_and_nothing_else(shards: list[str], workers: int) -> None:
    loader = make(WebDatasetStream(pipeline(shards), index_shards(shards)), num_workers=workers)
    for _ in loader.epochs():
        assert sorted(train(loader)) == sorted(loader.pruner.plan.index.tolist())
    assert_every_loss_is_its_own(loader.pruner)


def test_what_is_not_in_the_plan_is_not_decoded(shards: list[str]) -> None:
    decoded = []

    def remember(sample: Any) -> Any:
        decoded.append(sample["__key__"])
        return sample

    dataset = (
        wds.WebDataset(shards, shardshuffle=False)
        .map(remember)
        .decode("rgb8")
        .to_tuple("png", "cls")
        .map_tuple(np.array)
    )
    loader = make(WebDatasetStream(dataset, index_shards(shards)))
    loader.set_epoch(0)
    delivered = train(loader)
    assert sorted(map(int, decoded)) == sorted(delivered)
    assert len(decoded) < NUM_SAMPLES


@pytest.mark.parametrize(
    ("pack", "ending", "address"),
    [
        (None, "", "pipe:cat {}"),
        (gzip.compress, ".gz", "{}"),
        (gzip.compress, "", "{}"),  # the name does not say it
        (gzip.compress, ".gz", "pipe:cat {}"),
        (gzip.compress, ".gz", "pipe:gunzip -c {}"),
        (bz2.compress, ".bz2", "{}"),
        (lzma.compress, ".xz", "pipe:cat {}"),
    ],
)
def test_shards_that_come_through_a_pipe_or_packed(
    pack: Callable[[bytes], bytes] | None, ending: str, address: str, shards: list[str]
) -> None:
    addresses = []
    for path in shards:
        content = Path(path).read_bytes()
        Path(f"{path}{ending}").write_bytes(content if pack is None else pack(content))
        addresses.append(address.format(f"{path}{ending}"))
    loader = make(WebDatasetStream(pipeline(addresses), index_shards(addresses)))
    for _ in loader.epochs():
        train(loader)
    assert_every_loss_is_its_own(loader.pruner)


@pytest.mark.parametrize("damage", [lambda content: content[:-700], lambda content: b"no tar file" * 100])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_shard_that_is_no_whole_tar_file_is_refused_by_its_name(
    damage: Callable[[bytes], bytes], pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    (path,) = write_shards(tmp_path)[:1]
    content = Path(path).read_bytes().rstrip(b"\0")  # a tar file ends in blocks of zeros
    Path(path).write_bytes(damage(pack(content)))
    with pytest.raises(emprune.ConfigError, match="`shards` must be whole tar files, .*; got .*000.tar'"):
        index_shards([path])


def test_a_pipeline_by_hand_and_one_with_a_cache(shards: list[str], tmp_path: Path) -> None:
    index, cache = index_shards(shards), tmp_path / "cache"
    cache.mkdir()
    by_hand = wds.DataPipeline(
        wds.SimpleShardList(shards),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.decode("rgb8"),
        wds.to_tuple("png", "cls"),
        wds.map_tuple(np.array),
    )
    cached = pipeline([f"pipe:cat {path}" for path in shards], cache_dir=str(cache))
    for dataset in (by_hand, cached):
        loader = make(WebDatasetStream(dataset, index))
        loader.set_epoch(0)
        assert sorted(train(loader)) == sorted(loader.pruner.plan.index.tolist())
    assert any(path.is_file() for path in cache.rglob("*"))


def test_long_and_nested_names(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, key="a/folder/" + "x" * 150 + "/{:05d}")
    loader = make(WebDatasetStream(pipeline(paths), index_shards(paths)))
    for _ in loader.epochs():
        train(loader)
    assert_every_loss_is_its_own(loader.pruner)


def test_a_sample_that_a_handler_leaves_out_is_not_observed(shards: list[str]) -> None:
    def damaged(sample: Any) -> Any:
        if int(sample["__key__"]) % 4 == 1:
            raise ValueError("damaged")
        return sample

    dataset = wds.WebDataset(shards, shardshuffle=False).map(damaged, handler=wds.ignore_and_continue)
    loader = make(
        WebDatasetStream(dataset.decode("rgb8").to_tuple("png", "cls").map_tuple(np.array), index_shards(shards))
    )
    loader.set_epoch(0)
    assert sorted(train(loader)) == sorted(i for i in loader.pruner.plan.index.tolist() if i % 4 != 1)
    assert loader.num_delivered == len(loader.pruner.plan)


def test_shards_may_move(shards: list[str], tmp_path: Path) -> None:
    index, moved = index_shards(shards), tmp_path / "elsewhere"
    moved.mkdir()
    paths = [str(Path(path).rename(moved / Path(path).name)) for path in shards]
    loader = make(WebDatasetStream(pipeline(paths), index))
    loader.set_epoch(0)
    train(loader)


def test_the_command_writes_an_index(shards: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "index"
    main([f"{tmp_path}/{{000..003}}.tar", "--out", str(out)])
    assert capsys.readouterr().out == f"{out}: 40 samples in 4 shards\n"
    loaded = TarIndex.load(out)
    assert loaded.fingerprint == index_shards(shards).fingerprint
    loader = make(WebDatasetStream(pipeline(shards), out))
    loader.set_epoch(0)
    train(loader)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emprune.integrations.webdataset", "missing.tar", "--out", str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1
    assert "missing.tar" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_replaces_an_index_and_nothing_else(shards: list[str], tmp_path: Path) -> None:
    index = tmp_path / "index"
    for _ in range(2):
        main([*shards, "--out", str(index)])
    theirs = Path(shards[0]).read_bytes()
    with pytest.raises(SystemExit):
        main([*shards, "--out", shards[0]])
    assert Path(shards[0]).read_bytes() == theirs


class TestContract(LoaderContract):
    num_samples = NUM_SAMPLES - 18  # as the contract has it

    @pytest.fixture(autouse=True)
    def _shards(self, tmp_path: Path) -> None:
        self.paths = write_shards(tmp_path, sizes=[9, 2, 11])
        self.index = index_shards(self.paths)

    def make_loader(self, pruner: emprune.DataPruner, *, accumulation: int = 1) -> Loader:
        loader = DataLoader(WebDatasetStream(pipeline(self.paths), self.index), batch_size=self.batch_size)
        return emprune.PrunedStream(loader, pruner, accumulation=accumulation, shuffle_buffer=6)

    def positions(self, batch: Any) -> Tensor:
        label = batch[1]
        assert isinstance(label, Tensor)
        return label

    def order(self, pruner: emprune.DataPruner, loader: Any) -> list[int]:
        order: list[int] = loader._deal(pruner.plan).index.tolist()
        return order


class TestRefusals:
    def test_a_pipeline_without_an_index(self, shards: list[str], raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="dataloader"):
            make(pipeline(shards))

    def test_a_missing_index(self, shards: list[str], tmp_path: Path, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="index"):
            WebDatasetStream(pipeline(shards), tmp_path / "index")

    @pytest.mark.parametrize("found", [["001.tar", "000.tar"], ["000.tar"]])
    def test_an_index_of_other_shards(
        self, shards: list[str], tmp_path: Path, raises: Raises, found: list[str]
    ) -> None:
        index = index_shards(shards[:2])
        with raises(emprune.ConfigError, parameter="index"):
            WebDatasetStream(pipeline([str(tmp_path / name) for name in found]), index)

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: d.shuffle(10),
            lambda d: d.batched(4),
            lambda d: d.slice(4),
            lambda d: d.rsample(0.5),
            lambda d: d.mcached(),
            lambda d: d.compose(wds.detshuffle(10)),
        ],
        ids=["shuffle", "batched", "slice", "rsample", "mcached", "detshuffle"],
    )
    def test_a_stage_that_looks_at_several_samples(self, shards: list[str], raises: Raises, change: Any) -> None:
        with raises(emprune.ConfigError, parameter="dataset"):
            WebDatasetStream(change(pipeline(shards)), index_shards(shards))

    def test_a_stage_that_makes_more_samples(self, shards: list[str], raises: Raises) -> None:
        def twice(samples: Any) -> Any:
            for sample in samples:
                yield sample
                yield sample

        stream = WebDatasetStream(pipeline(shards).compose(twice), index_shards(shards))
        with raises(emprune.ConfigError, parameter="dataset", value=2):
            next(iter(stream))

    @pytest.mark.parametrize(
        "change", [lambda d: d.repeat(2), lambda d: d.with_epoch(10)], ids=["repeat", "with_epoch"]
    )
    def test_repeated(self, shards: list[str], raises: Raises, change: Any) -> None:
        with raises(emprune.ConfigError, parameter="dataset"):
            WebDatasetStream(change(pipeline(shards)), index_shards(shards))

    def test_resampled(self, shards: list[str], raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="dataset"):
            WebDatasetStream(pipeline(shards, resampled=True), index_shards(shards))

    def test_renamed_files(self, shards: list[str], raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="rename_files"):
            WebDatasetStream(pipeline(shards, rename_files=str.lower), index_shards(shards))

    def test_a_pipeline_without_tar_files(self, shards: list[str], raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="dataset"):
            WebDatasetStream(wds.DataPipeline(wds.SimpleShardList(shards)), index_shards(shards))

    def test_no_pipeline(self, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="dataset"):
            WebDatasetStream([1, 2], "index")

    def test_a_sample_twice(self, tmp_path: Path, raises: Raises) -> None:
        paths = write_shards(tmp_path, sizes=[2], key="same")
        with raises(emprune.ConfigError, parameter="shards"):
            index_shards(paths)

    def test_a_shard_without_samples(self, tmp_path: Path, raises: Raises) -> None:
        with tarfile.open(tmp_path / "empty.tar", "w"):
            pass
        with raises(emprune.ConfigError, parameter="shards"):
            index_shards(str(tmp_path / "empty.tar"))


class TestShardsThatHaveChanged:
    @pytest.mark.parametrize("piped", [False, True])
    def test_a_shard_with_another_sample_more(self, shards: list[str], tmp_path: Path, piped: bool) -> None:
        """A file is longer at once; of what comes through a pipe it is seen at its end, in the first epoch."""
        addresses = [f"pipe:cat {path}" for path in shards] if piped else shards
        index = index_shards(addresses)
        (tmp_path / "more").mkdir()
        more = write_shards(tmp_path / "more", sizes=[13, 4, 90, 6])
        Path(more[2]).replace(shards[2])
        loader = make(WebDatasetStream(pipeline(addresses), index))
        loader.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match=r"002\.tar' must be \d+ bytes long; got \d+"):
            train(loader)

    @pytest.mark.parametrize("piped", [False, True])
    def test_samples_that_have_changed_places(self, shards: list[str], tmp_path: Path, piped: bool) -> None:
        addresses = [f"pipe:cat {path}" for path in shards] if piped else shards
        index = index_shards(addresses)
        for path in shards:
            with tarfile.open(path) as old:
                members = [(member, old.extractfile(member).read()) for member in old]  # type: ignore[union-attr]
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as new:
                for member, content in [*members[2:], *members[:2]]:
                    new.addfile(member, io.BytesIO(content))
        loader = make(WebDatasetStream(pipeline(addresses), index))
        loader.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match="index"):
            train(loader)

    def test_a_shard_that_a_handler_passes_over(self, shards: list[str], raises: Raises) -> None:
        index = index_shards(shards)
        Path(shards[1]).unlink()
        stream = WebDatasetStream(wds.WebDataset(shards, shardshuffle=False, handler=wds.ignore_and_continue), index)
        with raises(emprune.ConfigError, parameter="dataset", value="001.tar"):
            list(stream)

    def test_a_shard_that_is_cut(self, shards: list[str]) -> None:
        index = index_shards(shards)
        for path in shards:
            Path(path).write_bytes(Path(path).read_bytes()[:600])
        loader = make(WebDatasetStream(pipeline(shards), index))
        loader.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match="bytes long; got 600"):
            train(loader)


def test_a_run_goes_on_in_mid_epoch(shards: list[str]) -> None:
    index = index_shards(shards)

    def fresh() -> emprune.PrunedStream:
        return make(WebDatasetStream(pipeline(shards), index), num_workers=2)

    whole, stopped, resumed = fresh(), fresh(), fresh()
    expected = [i for _ in whole.epochs() for i in train(whole)]
    first: list[int] = []
    for batch, (label, _) in ((b, (b[1][1], b[0])) for _ in stopped.epochs() for b in stopped):
        stopped.reduce(batch[0], loss_of(label))
        first += label.tolist()
        if len(first) >= 28:
            break
    resumed.load_state_dict(stopped.state_dict())
    assert first + [i for _ in resumed.epochs() for i in train(resumed)] == expected
    assert torch.equal(resumed.pruner.visits, whole.pruner.visits)
    assert np.array_equal(resumed.pruner.stats["loss"], whole.pruner.stats["loss"])
