import dataclasses
import gc
import gzip
import hashlib
import http.client
import os
import socket
import struct
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copy

import pytest
import torch
from emprune_lab.data import sources
from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.data.sources import debian_package, local_folder, take_files, web_file, web_folder
from emprune_lab.errors import DataError
from emprune_lab.tasks.mnist import FASHION_MNIST, read_idx

CONTENT = {"images": b"what is in the file", "labels": b"and in the other"}


def data_set(*sources: Source) -> DataSet:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    return DataSet(name="made-up", sha256=sha256, sources=sources)


def source(name: str, collect: Callable[[Path, Path], None], calls: list[str]) -> Source:
    def counted(folder: Path, data_dir: Path) -> None:
        calls.append(name)
        collect(folder, data_dir)

    return Source(name, counted)


def write_all(folder: Path, data_dir: Path) -> None:
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)


def write_packed(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


def absent(folder: Path, data_dir: Path) -> None:
    raise SourceError("not there")


def test_the_first_source_that_has_the_data_is_taken_and_never_asked_again(tmp_path: Path) -> None:
    calls: list[str] = []
    said: list[str] = []
    data = data_set(source("a", absent, calls), source("b", write_all, calls), source("c", write_all, calls))
    folder = data.ensure(tmp_path, say=said.append)
    assert {path.name for path in folder.iterdir()} == {*CONTENT, "source.json"}
    data.ensure(tmp_path)
    assert calls == ["a", "b"]
    assert said == ["made-up: trying a", "made-up: not there", "made-up: trying b"]
    assert os.listdir(tmp_path) == ["made-up"]


@pytest.mark.parametrize(
    "error",
    [
        tarfile.ReadError("not a gzip file"), zipfile.BadZipFile("not a zip"), http.client.IncompleteRead(b""),
        UnicodeDecodeError("utf-8", b"", 0, 1, "cut short"), EOFError("ended early"), KeyError("train.tsv"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_cannot_be_read_is_as_good_as_not_there(error: Exception, tmp_path: Path) -> None:
    def garbage(folder: Path, data_dir: Path) -> None:
        raise error

    calls: list[str] = []
    data_set(source("a", garbage, calls), source("b", write_all, calls)).ensure(tmp_path)
    assert calls == ["a", "b"]
    with pytest.raises(DataError, match="could not be fetched.*a: what it gave cannot be read"):
        data_set(source("a", garbage, calls)).ensure(tmp_path / "other")


def test_a_wrong_checksum_or_a_missing_file_is_refused_and_the_next_source_tried(tmp_path: Path) -> None:
    def damaged(folder: Path, data_dir: Path) -> None:
        write_all(folder, data_dir)
        (folder / "labels").write_bytes(b"something else")

    def incomplete(folder: Path, data_dir: Path) -> None:
        write_all(folder, data_dir)
        (folder / "images").unlink()

    calls: list[str] = []
    sources = [source(f.__name__, f, calls) for f in (damaged, incomplete, write_all)]
    assert (data_set(*sources).ensure(tmp_path) / "labels").read_bytes() == CONTENT["labels"]
    assert calls == ["damaged", "incomplete", "write_all"]


def test_when_all_sources_fail_the_message_names_them_and_where_the_files_belong(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"could not be fetched\. Tried a: not there; b: not there\. Get images, labels"
    ) as caught:
        data_set(Source("a", absent), Source("b", absent)).ensure(tmp_path)
    assert str(tmp_path / "made-up") in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_a_fetch_that_is_cut_short_leaves_nothing_behind(tmp_path: Path, interruption: type[BaseException]) -> None:
    def half(folder: Path, data_dir: Path) -> None:
        (folder / "images").write_bytes(CONTENT["images"])
        raise interruption

    with pytest.raises(interruption):
        data_set(Source("half", half)).ensure(tmp_path)
    assert os.listdir(tmp_path) == []
    data_set(Source("whole", write_all)).ensure(tmp_path)


def test_what_a_killed_fetch_left_does_not_count_as_data_and_goes(tmp_path: Path) -> None:
    for name in (".made-up.1234", ".theirs.1234"):
        (tmp_path / name / "made-up").mkdir(parents=True)
    calls: list[str] = []
    data_set(source("a", write_all, calls)).ensure(tmp_path)
    assert calls == ["a"]
    assert {*os.listdir(tmp_path)} == {"made-up", ".theirs.1234"}


def test_two_fetches_at_once_agree(tmp_path: Path) -> None:
    def slow(folder: Path, data_dir: Path) -> None:
        write_all(folder, data_dir)
        (tmp_path / "made-up").mkdir()  # meanwhile another process has finished
        write_all(tmp_path / "made-up", tmp_path)

    data = data_set(Source("slow", slow))
    assert (data.ensure(tmp_path) / "images").read_bytes() == CONTENT["images"]
    assert os.listdir(tmp_path) == ["made-up"]


def test_damaged_data_in_the_cache_is_refused_not_used(tmp_path: Path) -> None:
    data = data_set(Source("a", write_all))
    (data.ensure(tmp_path) / "images").write_bytes(b"bits rot")
    with pytest.raises(
        DataError, match=r"damaged: images in .*Delete that folder and run `emprune data made-up` again"
    ):
        data.ensure(tmp_path)


TAKE = partial(take_files, list(CONTENT))


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and fails at first where it is asked to."""

    failures = 0

    def do_GET(self) -> None:
        if Quiet.failures > 0:
            Quiet.failures -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a server of the folder `there`."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "there"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # requests leaves the sockets of answers that pooch refused to the collector


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_folder_and_an_address_are_unpacked(tmp_path: Path, address: str, capfd: pytest.CaptureFixture[str]) -> None:
    write_packed(tmp_path / "there")
    packed = [f"{name}.gz" for name in CONTENT]
    found = [local_folder(str(tmp_path / "there"), TAKE), web_folder(address, packed, TAKE)]
    for place, one in enumerate(found):
        data_set(one).ensure(tmp_path / str(place))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SourceError, match=r"images, labels not there"):
        local_folder(str(tmp_path), TAKE).collect(tmp_path, tmp_path)
    with pytest.raises(SourceError, match="no answer .*404"):
        web_folder(f"{address}/nowhere", packed, TAKE).collect(tmp_path, tmp_path)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_download_is_verified_and_tried_again(tmp_path: Path, address: str) -> None:
    write_packed(tmp_path / "there")
    write_all(tmp_path / "there", tmp_path)
    (tmp_path / "into").mkdir()
    right = hashlib.sha256(CONTENT["images"]).hexdigest()
    Quiet.failures = sources.RETRIES
    web_file(f"{address}/images", right, copy).collect(tmp_path / "into", tmp_path)
    assert (tmp_path / "into" / "images").read_bytes() == CONTENT["images"]
    with pytest.raises(SourceError, match="images has another checksum; refused"):
        web_file(f"{address}/images", "0" * 64, copy).collect(tmp_path / "into", tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(SourceError, match="no answer"):
        web_file(f"{nobody}/images", right, copy).collect(tmp_path / "into", tmp_path)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    write_packed(tmp_path / "there")
    whole = (tmp_path / "there" / "images.gz").read_bytes()
    (tmp_path / "there" / "images.gz").write_bytes(whole[:-9])
    with pytest.raises(SourceError, match=r"images\.gz is damaged"):
        local_folder(str(tmp_path / "there"), TAKE).collect(tmp_path, tmp_path)


def fake_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("relative", [True, False])
def test_a_debian_package_is_downloaded_and_unpacked_without_installing(
    relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_packed(tmp_path / "content" / "usr" / "share" / "made-up")
    fake_program(tmp_path / "bin", "apt-get", 'test "$1 $2" = "download dataset-made-up" && touch x.deb')
    fake_program(tmp_path / "bin", "dpkg-deb", f'test -f "$2" && cp -r {tmp_path}/content "$3"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    found = debian_package("dataset-made-up", "/usr/share/made-up", TAKE)
    data_set(found).ensure(Path("cache") if relative else tmp_path / "cache")


def test_a_debian_package_that_cannot_be_had_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = debian_package("dataset-made-up", "/usr/share/made-up", TAKE)
    fake_program(tmp_path / "bin", "dpkg-deb", "exit 0")
    fake_program(tmp_path / "bin", "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(SourceError, match=r"Unable to locate package \(`apt-get update` may help\)"):
        found.collect(tmp_path, tmp_path)
    fake_program(tmp_path / "bin", "apt-get", "exit 0")
    with pytest.raises(SourceError, match="`apt-get download dataset-made-up` gave 0 files instead of one"):
        found.collect(tmp_path, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="apt-get is not on this machine"):
        found.collect(tmp_path, tmp_path)


def idx(*shape: int) -> bytes:
    count = 1
    for size in shape:
        count *= size
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(i % 10 for i in range(count))


def test_idx_files_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(idx(2, 3, 4))
    assert read_idx(path).equal(torch.arange(24, dtype=torch.uint8).remainder(10).reshape(2, 3, 4))
    for content in (b"", b"\x00\x00\x0d\x01", b"\x00\x00\x08\x03\x00", idx(4)[:-1], idx(4) + b"\x00"):
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_idx(path)


def test_fashion_mnist_reads_its_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "train-images-idx3-ubyte": idx(20, 28, 28),
        "train-labels-idx1-ubyte": idx(20),
        "t10k-images-idx3-ubyte": idx(10, 28, 28),
        "t10k-labels-idx1-ubyte": idx(10),
    }
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)  # as torchvision has it in its root
    for name, data in content.items():
        (tmp_path / "FashionMNIST" / "raw" / f"{name}.gz").write_bytes(gzip.compress(data))
    assert FASHION_MNIST.data is not None
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    made_up = dataclasses.replace(FASHION_MNIST.data, sha256=digests)
    splits = dataclasses.replace(FASHION_MNIST, data=made_up).load(tmp_path)
    assert splits.train.x.shape == (20, 1, 28, 28)
    assert splits.test.y.tolist() == list(range(10))
    augmented = FASHION_MNIST.augment(torch.Generator().manual_seed(0), splits.train.x)
    assert augmented.shape == splits.train.x.shape
