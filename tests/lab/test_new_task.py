"""A new task is one file and one line: what `docs/lab/new-task.md` says, tried out."""

import dataclasses
import hashlib
import io
import pickle
from functools import partial
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import torch
from emprune_lab.commands.app import app
from emprune_lab.data.augment import shift
from emprune_lab.data.cache import DataSet
from emprune_lab.data.dividing import with_test_part
from emprune_lab.data.sources import local_file
from emprune_lab.data.splits import Split, Splits
from emprune_lab.tasks import TASKS, get_task, load_splits
from emprune_lab.tasks.glue import TASKS as GLUE_TASKS
from emprune_lab.tasks.task import BlockTask, ImageTask, Recipe, TextTask
from typer.testing import CliRunner


def read(_folder: Path) -> Splits:
    """Return 600 training and 200 test images of noise with a spot."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 100, (800, 1, 8, 8), generator=generator, dtype=torch.uint8)
    y = torch.arange(800) % 4
    x[torch.arange(800), 0, 2 + 4 * (y // 2), 2 + 4 * (y % 2)] = 255
    return with_test_part(Split(x, y), one_in=4)


SPOTS = ImageTask(
    name="spots",
    description="600 + 200 images of 8x8 pixels with a spot in one of 4 quarters; made up, no download",
    num_classes=4,
    input_shape=(1, 8, 8),
    mean=(52.87,),
    std=(38.31,),
    read=read,
    augment=partial(shift, pixels=1),
    recipe=Recipe(model="tiny-resnet", epochs=2, batch_size=50, max_lr=0.2),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "spots", SPOTS)


def test_it_has_the_mean_and_deviation_it_says() -> None:
    x = SPOTS.normalise(SPOTS.load().train.x)
    assert x.mean().abs() < 0.01
    assert (x.std() - 1).abs() < 0.01


def test_the_command_trains_on_it(tmp_path: Path) -> None:
    command = ["run", "spots", "--method", "emp", "--keep", "0.5", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "spots" in CliRunner().invoke(app, ["tasks"]).output
    assert (tmp_path / "run" / "result.json").exists()


def read_npz(folder: Path) -> Splits:
    with np.load(folder / "spots.npz") as arrays:
        return with_test_part(Split(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])), one_in=2)


def test_its_data_may_be_files_that_are_fetched(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.savez(content, x=np.zeros((8, 1, 8, 8), np.uint8), y=np.arange(8) % 4)
    (tmp_path / "spots.npz").write_bytes(content.getvalue())
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    data = DataSet(name="spots", sha256={"spots.npz": sha256}, sources=(local_file("spots.npz", sha256, copy),))
    fetched = dataclasses.replace(SPOTS, name="fetched-spots", read=read_npz, data=data)
    splits = load_splits(fetched, tmp_path, train_size=3, leave_out=1)
    assert (len(splits.train), len(splits.test)) == (2, 4)


def test_every_task_pickles_says_its_kind_and_is_the_same_in_another_process(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"")
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\nc,0\nd,1\n")
    names = [*TASKS, *(f"glue:{name}" for name in GLUE_TASKS), f"image-folder:{tmp_path}", f"texts:{tmp_path}"]
    for task in map(get_task, names):
        copied = pickle.loads(pickle.dumps(task))
        assert copied == task
        assert hash(copied) == hash(task)
        assert copied.recipe == task.recipe
        kinds = {ImageTask: "images", TextTask: "texts", BlockTask: "blocks"}
        assert task.kind == kinds[type(task)]
