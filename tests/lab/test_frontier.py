"""The frontier's choices and numbers, on results whose values are known."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.reports import call_script, old_result_of
from tests.lab.runs import small_settings

pytest.importorskip("matplotlib", reason="the group dev has it")

FOLDER = Path(__file__).parents[2] / "experiments/frontier"
FRONTIER, TUNING, COLLECT = (FOLDER / f"{name}.py" for name in ("frontier", "tuning", "collect"))
KEEPS = (0.1, 0.3, 0.5)
KEPT = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""The columns of the page of results."""

REACHED = {"random-permutation": (80.0, 84.0, 88.0), "emp:pool=2": (82.0, 87.0, 90.0), "greedy": (70.0, 79.0)}


def run(method: str, accuracy: float, *, tail_fraction: float | None = None, **settings: Any) -> dict[str, Any]:
    return old_result_of(small_settings(method, **settings), tail_fraction=tail_fraction) | {"accuracy": accuracy}


def frontier_runs(num_seeds: int = 3) -> list[dict[str, Any]]:
    """Full training reaches 90 points; a seed adds the same to all."""
    runs = []
    for seed in range(num_seeds):
        runs.append(run("full", 90.0 + seed, seed=seed))
        for method, reached in REACHED.items():
            runs += [run(method, high + seed, seed=seed, keep=keep) for keep, high in zip(KEEPS, reached, strict=False)]
    return runs


def write(path: Path, runs: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 2, "runs": runs}))
    return path


def test_tables_say_what_a_keep_is_worth_and_from_where_on_nothing_is_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "results.json", frontier_runs())
    outcome = call_script(FRONTIER, path)
    assert outcome.exit_code == 0, outcome.output
    assert "### digits: seeds 0, 1, 2" in outcome.output
    # Whatever seeds are drawn, all methods move together: the intervals are points.
    assert "| EMP | 0.20 [0.20, 0.20] | 0.45 [0.45, 0.45] | 1.00 [1.00, 1.00] |  |" in outcome.output
    assert "| greedy | ≤ 0.1 [≤ 0.1, ≤ 0.1] | ≤ 0.1 [≤ 0.1, ≤ 0.1] |  |  |" in outcome.output
    assert "| EMP | 0.48 [0.48, 0.48] |" in outcome.output
    assert "| random permutation | 0.93 [0.93, 0.93] |" in outcome.output
    assert "| EMP | +2.00 (all equal) | +3.00 (all equal) | +2.00 (all equal) |  |" in outcome.output


def test_a_seed_that_is_not_complete_and_what_was_tuned_are_left_out(tmp_path: Path) -> None:
    runs = [*frontier_runs(), run("full", 50.0, seed=3), run("full", 99.0, seed=1000, validation=0.25)]
    outcome = call_script(FRONTIER, write(tmp_path / "results.json", runs))
    assert "### digits: seeds 0, 1, 2" in outcome.output
    outcome = call_script(FRONTIER, write(tmp_path / "results.json", [runs[0], run("greedy", 50.0, seed=3)]))
    assert "digits: no seed has every run yet" in outcome.output


def test_two_results_of_one_run_are_refused(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{high}.json", [run("full", high)]) for high in (90.0, 91.0)]
    outcome = call_script(FRONTIER, *paths)
    assert outcome.exit_code == 2
    assert "two results" in outcome.output


def test_curves_are_drawn_on_light_and_on_dark_pages(tmp_path: Path) -> None:
    path = write(tmp_path / "results.json", frontier_runs())
    outcome = call_script(FRONTIER, path, "--out", tmp_path / "frontier")
    assert outcome.exit_code == 0, outcome.output
    for theme in ("light", "dark"):
        texts = re.findall(r">([^<>\n]+)</text>", (tmp_path / f"frontier-digits-{theme}.svg").read_text())
        assert {"full training", "random permutation", "EMP", "greedy", "test accuracy, %"} <= set(texts)


def test_tuning_chooses_by_the_validation_part_and_at_a_tie_the_middle_peak_with_a_tail(tmp_path: Path) -> None:
    settings = [(peak, tail) for peak in (0.1, 0.2, 0.4) for tail in (0.25, 0.0)]
    runs = [
        run("greedy", 99.0, max_lr=peak, tail_fraction=tail, validation=0.25) | {"validation_accuracy": 70.0 + tail}
        for peak, tail in settings
    ]
    runs += [run("full", 50.0, max_lr=p, validation=0.25) | {"validation_accuracy": 10 * p} for p in (0.1, 0.2, 0.4)]
    outcome = call_script(TUNING, write(tmp_path / "tuning-digits/results.json", runs))
    assert outcome.exit_code == 0, outcome.output
    assert "### tuning-digits" in outcome.output
    assert "| `greedy` | 0.2 | 0.25 | 70.25 (0.2, 0.25); " in outcome.output
    assert "| `full` | 0.4 | 0 | 4.00 (0.4, 0); 2.00 (0.2, 0); 1.00 (0.1, 0) |" in outcome.output


def test_finished_runs_are_collected_beside_what_is_committed_already(tmp_path: Path) -> None:
    into, runs = tmp_path / "frontier", tmp_path / "runs"
    write(into / "digits-greedy/results.json", [run("greedy", 79.0, seed=0)])
    (into / "digits-greedy.toml").write_text('title = "Greedy"\ntask = "digits"\nmethods = ["greedy"]\n[settings]\n')
    (into / "digits-full.toml").write_text('title = "Full"\ntask = "digits"\nmethods = ["full"]\n[settings]\n')
    for seed in (0, 1):
        folder = runs / f"digits-greedy/digits/greedy/seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(run("greedy", 79.0 + seed, seed=seed)))
    outcome = call_script(COLLECT, runs, "--into", into)
    assert outcome.output.strip() == "digits-greedy: 2 runs"
    document = json.loads((into / "digits-greedy/results.json").read_text())
    assert [(run["config"]["seed"], run["accuracy"]) for run in document["runs"]] == [(0, 79.0), (1, 80.0)]
    assert document["experiment"]["title"] == "Greedy"
    assert not (into / "digits-full").exists()


def test_the_page_of_results_has_what_the_command_prints() -> None:
    outcome = call_script(FRONTIER, *sorted(FOLDER.glob("*/results.json")))
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.strip() in (FOLDER / "README.md").read_text(encoding="utf-8")


def cells_of(page: Path, head: str) -> dict[str, list[str]]:
    """Return the cells behind the first of each row of a page's table, by the first."""
    table = page.read_text(encoding="utf-8").partition(head)[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first: others for first, *others in rows}


def test_the_short_table_of_the_evidence_has_the_figures_of_the_page_of_results() -> None:
    page = FOLDER / "README.md"
    reached = cells_of(page, "Accuracy, %:\n\n")
    lowest = cells_of(page, "of full training:\n\n")
    short = cells_of(FOLDER.parents[1] / "docs/evidence/index.md", "| nothing is lost from keep")
    assert {"EMP", "greedy", "random permutation"} <= set(short)
    for method, (keep, *accuracies) in short.items():
        assert keep == lowest.get(method, ["not run at every keep"])[0]
        assert accuracies == [reached[method][KEPT.index(at)] for at in (0.1, 0.3, 0.5)]


def test_the_evidence_by_task_has_the_gains_of_the_page_of_results() -> None:
    above = cells_of(FOLDER / "README.md", "random permutation, paired:\n\n")
    text = (FOLDER.parents[1] / "docs/evidence/by-task.md").read_text(encoding="utf-8")
    _, first, *_ = re.split(r"(?=\| the same, all 60,000)", text)
    for line, keep in zip(first.splitlines(), (0.1, 0.3, 0.5), strict=False):
        assert f"| {keep} |" in line
        assert f"| {above['EMP'][KEPT.index(keep)]} * |" in line
    assert above["greedy"][KEPT.index(0.3)] in first.splitlines()[1]
