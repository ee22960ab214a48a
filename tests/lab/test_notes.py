"""What is said before a run that hardly trains, or whose scores choose nothing."""

from typing import Any

import pytest
from emprune_lab.comparison.notes import little_notes
from emprune_lab.run import Run
from emprune_lab.tasks import get_task

from tests.lab.runs import settings_for


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
