"""The registered contrasts of the study, on results whose differences are known."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.comparison.statistics import holm
from scipy.stats import ttest_1samp
from typer.testing import Result

from tests.lab.reports import call_script, old_result_of
from tests.lab.runs import small_settings

SCRIPT = Path(__file__).parents[2] / "experiments/study/contrasts.py"
NOISE = (0.0, 0.3, -0.2, 0.1, -0.2)
"""Of the seeds, around a method's mean; other than their common part, which pairing takes away."""


def results(
    accuracies: Mapping[str, float],
    *,
    more: Mapping[str, Any] | None = None,
    tail_fraction: float | None = None,
    **settings: Any,
) -> list[Any]:
    """Return five seeds of results: the first method's without noise around its mean, the next ones' with ever more."""
    runs = []
    for place, (method, mean) in enumerate(accuracies.items()):
        for seed, noise in enumerate(NOISE):
            chosen = {name: value for name, value in settings.items() if method != "full" or name != "keep"}
            result = old_result_of(small_settings(method, seed=seed, **chosen), tail_fraction=tail_fraction)
            runs.append({**result, "accuracy": mean + 5 * seed + place * (noise + 1e-6), **(more or {})})
    return runs


def call(tmp_path: Path, part: str, runs: Iterable[Any], *options: str) -> Result:
    """Run the script as a command."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"runs": list(runs)}))
    return call_script(SCRIPT, part, path, *options)


def said(tmp_path: Path, part: str, runs: Iterable[Any], *options: str) -> list[str]:
    """Return the lines that the script prints."""
    outcome = call(tmp_path, part, runs, *options)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output.splitlines()


def adjusted(lines: Iterable[str]) -> list[float]:
    return [float(match[1]) for line in lines if (match := re.search(r"adjusted p (\S+)", line))]


def test_e1_pairs_seeds_in_each_cell_and_adjusts_within_the_family(tmp_path: Path) -> None:
    runs = []
    for tail, gain in ((0.0, 1.0), (0.25, 0.2)):
        means = {
            "emp:beta=0:pool=2": 80 + gain,
            "emp:pool=1": 80.0,
            "emp:pool=2": 80 + gain,
            "emp:beta=10:pool=2": 79.0,
        }
        runs += results(means, keep=0.3, tail_fraction=tail)
    lines = said(tmp_path, "e1", runs)
    assert len(lines) == 6  # three contrasts in two cells; the entropy alone was not run
    primary = [line for line in lines if line.startswith("P")]
    assert [re.search(r"[+-]\d\.\d\d", line)[0] for line in primary] == ["+1.00", "+0.20", "+0.00", "+0.00"]  # type: ignore[index]
    noise = [(1.0, 1), (0.2, 1), (0.0, 2), (0.0, 2)]
    expected = holm([float(ttest_1samp([gain - k * n for n in NOISE], 0).pvalue) for gain, k in noise])
    assert adjusted(lines) == pytest.approx(expected, abs=5e-4)
    assert all("tail_fraction" in line and "(5 seeds)" in line for line in lines)


def test_e2_asks_whether_the_gain_grows_with_what_is_fitted_and_shrinks_with_the_gap(tmp_path: Path) -> None:
    runs = []
    for place, epochs in enumerate((7, 20, 60, 180)):
        more = {"fitted_fraction": 0.2 + 0.2 * place, "validation_loss": 0.9, "probe_loss": 0.4 + 0.1 * place}
        runs += results({"random-permutation": 80.0, "emp:pool=2": 80.0 + place}, more=more, epochs=epochs)
    lines = said(tmp_path, "e2", runs)
    fitted, gap = lines[-2:]
    assert "Spearman +1.00" in fitted
    assert "0.20 +0.00; 0.40 +1.00; 0.60 +2.00; 0.80 +3.00" in fitted
    assert "Spearman -1.00, p 0.042" in gap
    assert "0.20 +3.00; 0.30 +2.00; 0.40 +1.00; 0.50 +0.00" in gap
    assert len(adjusted(lines)) == 2  # the longest run's gain, and the correlation
    gain = float(ttest_1samp([3 + noise for noise in NOISE], 0).pvalue)
    assert adjusted(lines) == pytest.approx(holm([gain, 1 / 24]), abs=5e-4)  # one order of 4! is as high


def test_e3_takes_each_method_at_its_best_rate_and_compares_what_batch_norm_gives(tmp_path: Path) -> None:
    runs = []
    for rate, ours, rival in ((0.1, 81.0, 83.0), (0.2, 83.0, 82.0)):
        for run in results({"random-permutation": rival, "emp:pool=2": ours}, max_lr=rate, recalibrate_bn=True):
            is_ours = run["config"]["method"] == "emp:pool=2"
            repaired = run["accuracy"] + (0.7 + 0.1 * run["config"]["seed"] if is_ours else 0.25)
            runs.append({**run, "accuracy_recalibrated": repaired})
    lines = said(tmp_path, "e3", runs)
    (best,) = [line for line in lines if line.startswith("P")]
    assert "emp:pool=2 (lr 0.2, tail None) − random-permutation (lr 0.1, tail None)" in best
    assert "+0.00 ± 0.26" in best
    assert [line.split("±")[0].strip() for line in lines if not line.startswith("P")] == ["+0.65"] * 2


def test_e5_names_the_finalist_by_both_tasks_at_the_better_tails(tmp_path: Path) -> None:
    runs = []
    cells = {("digits", 0.0): (80.0, 81.5), ("digits", 0.25): (80.5, 80.0)}
    cells |= {("mnist", 0.0): (90.0, 90.1), ("mnist", 0.25): (89.0, 70.0)}
    for (task, tail), (pool, review) in cells.items():
        means = {"random-permutation": 99.0, "emp:pool=2": pool, "emp:pool=3": review, "emp:pool=4": 99.0}
        made = results(means, task=task, tail_fraction=tail)
        renamed = {
            "emp:pool=3": "emp-review",
            "emp:pool=4": "emp-review:spaced=false",
        }  # which are no more, but in files
        for run in made:
            run["config"]["method"] = renamed.get(run["config"]["method"], run["config"]["method"])
        runs += made
    *_, finalist = said(tmp_path, "e5", runs)
    assert "emp-review − emp:pool=2" in finalist
    assert "emp-review 95.80; emp:pool=2 95.25" in finalist  # (81.5 + 90.1) / 2 and (80.5 + 90) / 2, and what seeds add
    assert "+0.55 ± 0.26  (5 seeds)  above +0.0: yes" in finalist


def test_the_judgement_asks_three_questions(tmp_path: Path) -> None:
    runs = results({"full": 81.5, "greedy": 79.0}, keep=0.3)
    for keep, gain in ((0.3, 1.8), (0.1, 1.0)):
        runs += results({"random-permutation": 80.0, "infobatch": 82.0, "emp:pool=3": 80 + gain}, keep=keep)
    lines = said(tmp_path, "judge", runs, "--finalist", "emp:pool=3", "--infobatch", "infobatch")
    judged = [line for line in lines if "above -0.3" in line and "keep 0.3" in line]
    answers = {line.split(" − ")[1].split(" (")[0]: line.split("above -0.3: ")[1].split()[0] for line in judged}
    assert answers == {
        "random-permutation": "yes",
        "infobatch": "no",
        "greedy": "yes",
    }
    assert len(adjusted(lines)) == 2
    assert all("keep 0.1" in line for line in lines if line.startswith("P"))
    (near,) = [line for line in lines if "above -0.5" in line]
    assert "keep 0.3" in near
    assert "above -0.5: yes" in near
    assert near.endswith("− full")


def test_identical_runs_are_not_inferior(tmp_path: Path) -> None:
    runs = results({"emp:pool=2": 80.0}, keep=0.1) + results({"greedy": 80.0}, keep=0.1)
    (line,) = [line for line in said(tmp_path, "judge", runs) if "greedy (" in line]
    assert "+0.00 identical  (5 seeds)  above -0.3: yes" in line


def test_the_finalist_of_two_classes_has_a_name_of_its_own(tmp_path: Path) -> None:
    runs = results({"random-permutation": 80.0, "emp:pool=2": 81.0}, keep=0.1)
    runs += results({"random-permutation": 80.0, "emp:beta=5:pool=2": 82.0}, keep=0.1, task="glue:cola")
    lines = said(tmp_path, "judge", runs, "--finalist", "emp:pool=2", "--finalist", "emp:beta=5:pool=2")
    gains = [re.search(r"[+-]\d\.\d\d", line)[0] for line in lines if line.startswith("P")]  # type: ignore[index]
    assert gains == ["+1.00", "+2.00"]


@pytest.mark.parametrize(
    ("finalists", "said_of"),
    [
        (["emp:pool=2"], "one method of glue:cola; got none"),
        (["emp:pool=2", "random-permutation", "emp:beta=5:pool=2"], "got emp:pool=2 and random-permutation"),
    ],
)
def test_a_task_with_no_finalist_or_two_is_refused(tmp_path: Path, finalists: list[str], said_of: str) -> None:
    runs = results({"random-permutation": 80.0, "emp:pool=2": 81.0}, keep=0.1)
    runs += results({"random-permutation": 80.0, "emp:beta=5:pool=2": 82.0}, keep=0.1, task="glue:cola")
    options = [part for finalist in finalists for part in ("--finalist", finalist)]
    outcome = call(tmp_path, "judge", runs, *options)
    assert outcome.exit_code == 2
    assert said_of in " ".join(outcome.output.replace("│", " ").split())


def test_tuning_orders_the_settings_of_a_family_by_their_mean_over_both_tasks(tmp_path: Path) -> None:
    runs = []
    cells = {("digits", 0.0): (80.0, 81.0), ("digits", 0.25): (80.5, 70.0), ("mnist", 0.0): (90.0, 91.0)}
    for (task, tail), (plain, wide) in cells.items():
        made = results({"ucb": plain, "ucb:c=3": wide}, task=task, tail_fraction=tail)
        runs += [*made, *results({"infobatch": 20.0, "infobatch:normalize=true": 50.0}, task=task, tail_fraction=tail)]
    lines = said(tmp_path, "tuning", runs)
    assert lines == [  # + 10, the mean over the seeds
        "ucb: ucb:c=3 (lr 0.2, tail 0.0) 96.00; ucb (lr 0.2, tail 0.0) 95.00",
        "infobatch: infobatch (lr 0.2, tail 0.0) 30.00",
        "infobatch:normalize=true: infobatch:normalize=true (lr 0.2, tail 0.0) 60.00",
    ]


def test_a_run_with_two_results_is_refused(tmp_path: Path) -> None:
    runs = results({"random-permutation": 80.0, "emp:pool=2": 81.0}, keep=0.3)
    assert said(tmp_path, "judge", [*runs, *runs]) == said(tmp_path, "judge", runs)
    outcome = call(tmp_path, "judge", [*runs, *results({"random-permutation": 80.1}, keep=0.3)])
    assert outcome.exit_code == 2
    assert "seed 0, has two results on digits" in " ".join(outcome.output.replace("│", " ").split())


def test_a_part_that_is_none_is_refused(tmp_path: Path) -> None:
    outcome = call(tmp_path, "e9", [])
    assert outcome.exit_code == 2
    assert "`part` must be one of" in outcome.output


def test_a_memory_term_that_the_objective_has_anyway_is_not_in_a_name(tmp_path: Path) -> None:
    ours = "emp:memory=instance-entropy:pool=2"
    means = {"random-permutation": 44.0, "emp:memory=instance-entropy:pool=none": 44.5, ours: 45.0}
    lines = said(tmp_path, "judge", results(means, keep=0.1, task="simclr-digits", model="small-resnet"))
    (missing,) = [line for line in lines if line.startswith("NOT JUDGED")]
    assert "on simclr-digits" in missing
    assert "greedy" in missing
    assert "emp:pool=none" not in missing.split(": ")[1].split(", ")
    assert any("emp:pool=2 (lr" in line and "− emp:pool=none (lr" in line for line in lines)


def test_full_training_has_one_setting_on_a_task(tmp_path: Path) -> None:
    runs = results({"full": 81.5, "random-permutation": 80.0, "emp:pool=2": 81.0}, keep=0.3)
    runs += results({"full": 76.5}, keep=0.3, max_lr=0.4)
    outcome = call(tmp_path, "judge", runs)
    assert outcome.exit_code == 2
    assert "Full training was run with 2 settings on digits" in " ".join(outcome.output.replace("│", " ").split())
