"""The tab key offers what there is: tasks, methods, and what a setting may be."""

import os

import pytest
from emprune_lab.commands.app import app
from emprune_lab.commands.compare import LAUNCHERS
from emprune_lab.commands.completion import complete_launcher, complete_tracker
from emprune_lab.training.tracking import TRACKERS
from typer.testing import CliRunner


def offered(words: str) -> list[str]:
    """What the shell is told for a command line that ends in its last word."""
    environment = {**os.environ, "_EMPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    return CliRunner().invoke(app, [], prog_name="emprune", env=environment).stdout.split()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("emprune run fash", ["fashion-mnist"]),
        ("emprune compare fash", ["fashion-mnist"]),
        ("emprune run digits --method order", ["order-dp"]),
        ("emprune compare digits --methods full,order", ["full,order-dp"]),
        ("emprune run digits --device c", ["cpu", "cuda"]),
        ("emprune compare digits --launcher s", ["slurm", "submitit"]),
        ("emprune run digits --track t", ["tensorboard"]),
    ],
)
def test_the_tab_key_completes(words: str, wanted: list[str]) -> None:
    assert offered(words) == wanted


def test_what_is_offered_without_a_look_is_what_there_is() -> None:
    assert complete_launcher("") == list(LAUNCHERS)
    assert complete_tracker("") == list(TRACKERS)
