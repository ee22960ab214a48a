"""What is said before a run: what was read of own files, that it hardly trains, that its scores choose nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emprune_lab.comparison.notes import little_notes, own_data_notes
from emprune_lab.run import Run
from emprune_lab.tasks import get_task
from PIL import Image

from tests.lab.runs import settings_for
from tests.lab.test_images import write_folder


def notes_of(method: str, **settings: Any) -> list[str]:
    given = {"keep": 0.3, "train_size": 300, "batch_size": 10, "device": "cpu", **settings}
    return little_notes(Run.resolve(settings_for("digits", method, **given), get_task("digits")))


@pytest.mark.parametrize("method", ["emp", "greedy", "order-dp", "ucb"])
@pytest.mark.parametrize(("epochs", "chooses"), [(3, False), (4, True)])
def test_scores_choose_once_an_epoch_gets_beyond_the_unseen(method: str, epochs: int, chooses: bool) -> None:
    said = notes_of(method, epochs=epochs)
    assert len(said) == (not chooses)
    if not chooses:
        assert f"{method}" in said[0]
        assert "chooses nothing by its scores" in said[0]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("random-permutation", {"epochs": 3}),
        ("random", {"epochs": 3}),
        ("static-random", {"epochs": 3}),
        ("full", {"epochs": 2, "keep": 1.0}),
        ("emp", {"epochs": 3, "keep": 0.5, "warmup_epochs": 1}),
    ],
)
def test_nothing_is_said_of_methods_without_scores_or_after_a_full_epoch(method: str, settings: dict[str, Any]) -> None:
    assert notes_of(method, **settings) == []


def test_a_full_epoch_at_the_end_chooses_nothing() -> None:
    assert "chooses nothing" in notes_of("emp", epochs=4, keep=0.45, tail_epochs=1)[0]


def test_a_run_says_what_it_read_of_the_users_own_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(10):
            image = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            (tmp_path / "images" / name / "more").mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / "images" / name / f"{number}.png")
        (tmp_path / "images" / name / "photo.HEIC").touch()
    (tmp_path / "images" / "cat" / "more" / "LABELS").touch()
    (tmp_path / "images" / "README.md").touch()
    task = get_task(f"image-folder:{tmp_path / 'images'}:size=8")
    settings = settings_for(task.name, "emp", keep=0.5, epochs=4, batch_size=4, validation=0.25, device="cpu")
    first, second = own_data_notes(Run.resolve(settings, task, data_dir=tmp_path / "data"))
    assert first == "Your images: 12 for training, 4 for validation, 4 for testing. 2 classes: cat, dog."
    assert second.startswith("Files that are not read: 2 .heic, 1 no ending. Images end in .bmp, .gif, ")


def test_a_part_that_is_not_read_is_named(tmp_path: Path) -> None:
    for part in ("train", "test", "val"):
        write_folder(tmp_path / "images" / part, {"cat": 2, "dog": 2})
        (tmp_path / "texts").mkdir(exist_ok=True)
        lines = [f"text {number},{'ab'[number % 2]}" for number in range(8)]
        (tmp_path / "texts" / f"{part}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    instead = "--validation splits a part off the training data instead."
    assert get_task(f"image-folder:{tmp_path / 'images'}:size=8").remarks == (f"Not read: val/. {instead}",)
    assert get_task(f"texts:{tmp_path / 'texts'}").remarks == (f"Not read: val.csv. {instead}",)


def test_nothing_is_said_of_data_that_the_name_says_whole() -> None:
    settings = settings_for("digits", "emp", keep=0.5, epochs=4, device="cpu")
    assert own_data_notes(Run.resolve(settings, get_task("digits"))) == []
