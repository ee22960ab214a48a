"""What of two settings of the study can be compared; what is printed of real ones stands in test_evidence.py."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.lab.reports import call_script, old_result_of
from tests.lab.runs import small_settings

STUDY = Path(__file__).parents[2] / "experiments/study"


def results(method: str, accuracy: float, *, losses: tuple[float, float], tail_fraction: float) -> list[Any]:
    """Five seeds, whose spread pairing takes away."""
    probe_loss, loss = losses
    return [
        {
            **old_result_of(small_settings(method, seed=seed, keep=0.3), tail_fraction=tail_fraction),
            "accuracy": accuracy + 2 * seed,
            "probe_loss": probe_loss - seed,
            "loss": loss - seed,
            "fitted_fraction": accuracy / 100,
        }
        for seed in range(5)
    ]


RUNS = [
    *results("emp:pool=2", 80.0, losses=(5.2, 5.5), tail_fraction=0.0),
    *results("emp:pool=2", 81.0, losses=(5.3, 5.4), tail_fraction=0.25),
    *results("greedy", 79.0, losses=(5.1, 5.9), tail_fraction=0.0),
]


@pytest.fixture
def call(tmp_path: Path) -> Any:
    def run(ours: str, theirs: str, *options: str, runs: Iterable[Any] = RUNS) -> Result:
        path = tmp_path / "results.json"
        path.write_text(json.dumps({"runs": list(runs)}))
        return call_script(STUDY / "pair.py", ours, theirs, path, *options)

    return run


def test_what_one_side_did_not_measure_is_left_out(call: Any) -> None:
    runs = [{name: value for name, value in run.items() if name != "probe_loss"} for run in RUNS]
    output = call("emp:pool=2", "greedy", runs=[*RUNS[:10], *runs[10:]]).output
    assert "held-out loss" in output
    assert "training loss" not in output


def test_what_neither_names_has_to_be_the_same(call: Any) -> None:
    outcome = call("emp:pool=2", "greedy")
    (line,) = outcome.output.splitlines()
    assert "tail_fraction 0.0" in line
    assert "+1.00" in line


@pytest.mark.parametrize(
    ("ours", "theirs", "complaint"),
    [
        ("emp:pool=2 tail=0", "greedy", "a setting must be one of"),
        ("emp:pool=2 tail_fraction=none", "greedy", "must be a number"),
        ("emp:pool=3", "greedy", "alike in all else"),
        ("emp:pool=2 tail_fraction=0.5", "greedy", "alike in all else"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Any, ours: str, theirs: str, complaint: str) -> None:
    outcome = call(ours, theirs)
    assert outcome.exit_code == 2
    assert complaint in " ".join(outcome.output.replace("│", " ").split())
