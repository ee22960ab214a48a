"""The tournament: its inequality, the entries that are committed, and the variants' contract."""

import json
from pathlib import Path

import enter
import pytest
from emp_variants.el2n import EL2N
from emp_variants.gap_scale import GapScaleEMP
from emp_variants.soft import SoftEMP
from emprune_lab.comparison.experiment import Experiment

from emprune.methods import Method
from emprune.testing import MethodContract

FOLDER = Path(__file__).parents[2] / "experiments/tournament"
SEEDS = [str(seed) for seed in range(200, 205)]


class TestGapScaleEMP(MethodContract):
    def make_method(self, num_samples: int) -> Method:
        return GapScaleEMP(scale=0.3)


class TestSoftEMP(MethodContract):
    def make_method(self, num_samples: int) -> Method:
        return SoftEMP()


class TestEL2N(MethodContract):
    def make_method(self, num_samples: int) -> Method:
        return EL2N()


@pytest.mark.parametrize(
    ("fashion_mnist", "cifar10", "verdict"),
    [
        (0.33, 0.90, "better on both"),
        (0.32, 0.90, "cannot tell"),
        (5.00, 0.88, "cannot tell"),
        (5.00, -0.90, "worse on one"),
        (-0.33, 5.00, "worse on one"),
    ],
)
def test_the_smaller_z_of_the_two_tasks_decides_whether_an_entry_is_better(
    fashion_mnist: float, cifar10: float, verdict: str
) -> None:
    tasks = {"fashion-mnist": fashion_mnist, "cifar10": cifar10}
    entry = {
        "accuracy": {task: {seed: 80 + int(seed) + gain for seed in SEEDS} for task, gain in tasks.items()},
        "baseline": {task: {seed: 80 + int(seed) for seed in SEEDS} for task in tasks},
    }
    assert enter.verdict(entry) == verdict


@pytest.mark.parametrize("task", enter.SIGMA)
def test_the_tournaments_tasks_have_the_registered_seeds_and_no_tail(task: str) -> None:
    experiment = Experiment.read(FOLDER / f"{task}.toml")
    assert [str(seed) for seed in experiment.seeds] == SEEDS
    assert list(experiment.methods) == [enter.BASELINE]
    assert {run.cost.tail_epochs for variant in experiment.variants for run in variant.runs} == {0}


@pytest.mark.parametrize("path", sorted((FOLDER / "entries").glob("*.json")), ids=lambda path: path.stem)
def test_a_committed_entry_has_every_seed_of_both_tasks_and_its_row_stands_in_the_page(path: Path) -> None:
    entry = json.loads(path.read_text())
    for runs in (entry["accuracy"], entry["baseline"]):
        assert {task: sorted(by_seed) for task, by_seed in runs.items()} == dict.fromkeys(enter.SIGMA, SEEDS)
    row = list(enter.table([entry]))[-1]
    assert row in (FOLDER / "README.md").read_text()
