import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
from emprune_lab.commands.comparison_table import console_table
from emprune_lab.commands.consoles import literal_console
from emprune_lab.comparison.notes import notes
from emprune_lab.comparison.rows import outcome, summarise, unequal_cost
from emprune_lab.comparison.statistics import Estimate, holm, mean_interval, paired_difference, seeds_for
from emprune_lab.comparison.table import comparison_table
from emprune_lab.results.record import RunRecord
from scipy import stats

from tests.lab.reports import record_of


def test_the_interval_is_the_one_worked_by_hand() -> None:
    # 1, 2, 3: mean 2, deviation 1, error 1/sqrt(3); t(0.975, 2) = 4.302653
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert estimate.mean == 2
    assert estimate.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_the_interval_is_scipys(confidence: float) -> None:
    values = np.random.default_rng(0).normal(90, 1, 7)
    low, high = stats.t.interval(confidence, 6, values.mean(), stats.sem(values))
    estimate = mean_interval(list(values), confidence=confidence)
    assert estimate.mean - estimate.half_width == pytest.approx(low)
    assert estimate.mean + estimate.half_width == pytest.approx(high)


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    estimate = mean_interval([3.0])
    assert estimate.mean == 3
    assert math.isnan(estimate.half_width)
    assert not estimate.excludes_zero
    with pytest.raises(ValueError, match="empty"):
        mean_interval([])


def test_the_paired_difference_is_the_paired_t_test() -> None:
    random = np.random.default_rng(1)
    one = dict(enumerate(random.normal(90, 1, 6)))
    other = {seed: value + random.normal(0.5, 0.1) for seed, value in one.items()}
    estimate = paired_difference(other, one)
    assert estimate is not None
    test = stats.ttest_rel(list(other.values()), list(one.values())).confidence_interval(0.95)
    assert estimate.mean - estimate.half_width == pytest.approx(test.low)
    assert estimate.mean + estimate.half_width == pytest.approx(test.high)
    assert estimate.excludes_zero == (test.low > 0)


def test_with_a_validation_part_methods_are_compared_on_it() -> None:
    held = [
        result(method, seed, on_test, 1, validation_accuracy=80.0 + (method == "emp") + seed)
        for method, on_test in (("random", 90), ("emp", 70))
        for seed in range(5)
    ]
    random, emp = summarise(held, baseline="random")
    assert emp.score.mean == 83
    assert emp.difference is not None
    assert (emp.difference.mean, random.score.mean) == (1, 82)
    assert "Accuracy on the validation part after the last epoch" in notes([random, emp], held, baseline="random")[0]
    assert "Accuracy on the test set after" in notes([random, emp], [result("emp", 0, 70, 1)], baseline="random")[0]
    scores = {"accuracy": 80, "score": 40, "validation_accuracy": 70, "validation_score": 30}
    assert outcome(record_of("emp", 0, **scores)) == 30


def test_only_common_seeds_are_paired() -> None:
    assert paired_difference({0: 5.0, 1: 9.0, 3: 7.0}, {3: 6.0, 0: 3.0, 7: 0.0}) == mean_interval([2.0, 1.0])
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("half_width", "num_seeds"),
    # t(0.975, n − 1) / √n by a table: 12.706 / √2 = 8.98, 4.303 / √3 = 2.48, 3.182 / √4 = 1.59, 2.776 / √5 = 1.24,
    # 2.120 / √17 = 0.514, 2.110 / √18 = 0.497
    [(9.0, 2), (8.9, 3), (2.49, 3), (2.48, 4), (1.25, 5), (1.24, 6), (0.515, 17), (0.5, 18)],
)
def test_how_many_seeds_an_interval_takes_is_as_worked_by_hand(half_width: float, num_seeds: int) -> None:
    assert seeds_for(mean_interval([1.0, 2.0, 3.0]), half_width) == num_seeds  # of deviation 1
    assert seeds_for(mean_interval([10.0, 20.0, 30.0]), 10 * half_width) == num_seeds


def test_inside_a_margin_is_the_whole_interval_or_not() -> None:
    assert Estimate(-0.2, 0.3, 5).is_inside(0.5)
    assert not Estimate(-0.3, 0.3, 5).is_inside(0.5)
    assert not Estimate(0.3, 0.3, 5).is_inside(0.5)
    assert not Estimate(0.0, math.nan, 5).is_inside(0.5)


def test_excluding_zero() -> None:
    assert Estimate(0.5, 0.4, 5).excludes_zero
    assert Estimate(-0.5, 0.4, 5).excludes_zero
    assert not Estimate(0.3, 0.4, 5).excludes_zero


def result(
    method: str,
    seed: int,
    accuracy: float,
    seconds: float,
    device: str = "a cpu",
    precision: str = "fp32",
    **more: Any,
) -> RunRecord:
    found = {
        "final_learning_rate": 1e-6,
        "accuracy": accuracy,
        "visits_fraction": 0.3,
        "optimizer_steps": 100,
        "train_seconds": seconds,
        "machine": {"device_name": device, "precision": precision},
    }
    return record_of(method, seed, **{**found, **more})


RESULTS = [
    result("full", 0, 95, 10), result("emp", 0, 93, 3), result("random", 0, 91, 4),
    result("full", 1, 97, 30), result("emp", 1, 94, 5), result("random", 1, 93, 4),
]  # fmt: skip


def test_rows_come_in_order_with_paired_differences_and_relative_times() -> None:
    full, emp, random = summarise(RESULTS, baseline="random")
    assert [row.method for row in (full, emp, random)] == ["full", "emp", "random"]
    assert emp.score == mean_interval([93, 94])
    assert emp.difference == mean_interval([2.0, 1.0])
    assert random.difference is None
    assert (full.relative_time, emp.relative_time) == (1.0, 0.2)


def test_a_missing_baseline_or_full_leaves_its_column_empty() -> None:
    rows = summarise([r for r in RESULTS if r.method != "full"], baseline="greedy")
    assert all(row.difference is None and row.relative_time is None for row in rows)
    assert "no differences, because greedy is not among the methods" in notes(rows, RESULTS, baseline="greedy")[0]
    assert "seconds" in comparison_table(rows).markdown()


@pytest.mark.parametrize("place", [("a gpu", "fp32"), ("a cpu", "bf16")])
def test_times_of_different_places_make_no_ratio(place: tuple[str, str]) -> None:
    elsewhere = [result(r.method, r.seed, r["accuracy"], 1000, *place) for r in RESULTS if r.method == "full"]
    rows = summarise([*elsewhere, *RESULTS[1:3], *RESULTS[4:]], baseline="random")
    assert [row.relative_time for row in rows] == [1.0, None, None]
    heads, *_ = comparison_table(rows).markdown().splitlines()
    assert heads == "| method | accuracy % | difference | p | − full | visits | steps | seconds | seeds |"
    rows = summarise([elsewhere[0], *RESULTS[1:]], baseline="random")  # seed 1 ran in one place
    assert [row.relative_time for row in rows] == [1.0, 5 / 30, 4 / 30]


def test_the_tables_say_the_same() -> None:
    rows = summarise(RESULTS, baseline="random")
    lines = comparison_table(rows).markdown().splitlines()
    assert lines[0] == "| method | accuracy % | difference | p | − full | visits | steps | time / full | seeds |"
    assert lines[3] == ("| emp | 93.50 ± 6.35 | +1.50 ± 6.35 | 0.205 | -2.50 ± 6.35 | 30.0% | 100 | 0.20 | 2 |")
    table, lines = console_table(rows, title="a title", width=120)
    assert table.row_count == 3
    assert [column.header for column in table.columns] == [
        "method", "accuracy %", "difference", "p", "− full", "time / full",
    ]  # fmt: skip
    assert lines == ["Each row: 30.0% of the visits, 100 steps, 2 seeds."]
    assert list(table.columns[1].cells) == ["96.00 ± 12.71", "93.50 ± 6.35", "92.00 ± 12.71"]


def test_what_differs_between_rows_stays_in_the_terminal_s_table() -> None:
    rows = summarise([*RESULTS, result("emp", 2, 90, 1)], baseline="random")
    rows[0] = dataclasses.replace(rows[0], optimizer_steps=400)
    rows[1] = dataclasses.replace(rows[1], visits_fraction=0.2)
    table, lines = console_table(rows, title="a title", width=120)
    assert {"visits", "seeds"} < {column.header for column in table.columns}
    assert lines == ["Each row: 100 steps; full: 400 steps."]


def test_one_seed_is_said_in_the_singular() -> None:
    rows = summarise([r for r in RESULTS if r.seed == 0], baseline="random")
    assert console_table(rows, title="a title", width=120)[1] == ["Each row: 30.0% of the visits, 100 steps, 1 seed."]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120])
@pytest.mark.parametrize("margin", [None, 0.5])
def test_methods_are_named_whole_however_narrow_the_terminal_is(width: int, margin: float | None) -> None:
    name = "emp:beta=3.5:memory=view-alignment:pool=none"
    rows = summarise([*RESULTS, *(result(name, seed, 90 + seed, 1) for seed in (0, 1))], baseline="random")
    table, _ = console_table(rows, title="a title", width=width, margin=margin)
    console = literal_console(width=width, record=True, file=io.StringIO())
    console.print(table)
    shown = console.export_text().splitlines()
    first = [line.split("  ")[0].strip() for line in shown]
    assert name in "".join(first)
    assert {"full", "random"} <= {*first}
    numbers = "".join(" ".join(shown).split())
    cells = [cell for column in table.columns[1:] for cell in column.cells]
    assert all(part in numbers for cell in cells for part in str(cell).replace(" ", "").split("\n"))
    assert width < 100 or not any(line.startswith("Too narrow for") for line in shown)


def test_notes_warn_of_few_seeds_and_different_machines() -> None:
    rows = summarise(RESULTS, baseline="random")
    assert "Only 2 seeds, fewer than 5" in " ".join(notes(rows, RESULTS, baseline="random"))
    assert "different places" not in " ".join(notes(rows, RESULTS, baseline="random"))
    mixed = [*RESULTS, result("emp", 2, 90, 1, "a gpu")]
    assert "different places, so times do not compare: a cpu (fp32), a gpu (fp32)" in " ".join(
        notes(rows, mixed, baseline="random")
    )
    assert "Of the runs" not in " ".join(notes(rows, mixed, baseline="random"))
    unlike = [*RESULTS, result("emp", 2, 90, 1, "a gpu", "bf16")]
    assert "Of the runs 1 in bf16 and 6 in fp32" in " ".join(notes(rows, unlike, baseline="random"))


def test_notes_explain_no_interval_and_no_star_where_one_seed_shows_none() -> None:
    one = [r for r in RESULTS if r.seed == 0]
    assert notes(summarise(one, baseline="random"), one, baseline="random")[0] == (
        "Accuracy on the test set after the last epoch; difference: to random, paired by seed."
    )
    first = notes(summarise(RESULTS, baseline="random"), RESULTS, baseline="random")[0]
    assert "mean ± 95 % interval (Student t)" in first
    assert "* where its interval excludes zero; p: of that difference" in first


def test_notes_tell_of_differences_over_fewer_seeds_than_a_method_has() -> None:
    few = {"random": range(5), "emp": range(3, 9), "ucb": range(5)}
    results = [result(method, seed, 90 + seed % 3 * len(method), 1) for method, own in few.items() for seed in own]
    said = notes(summarise(results, baseline="random"), results, baseline="random")
    assert said[1:3] == [
        "Only 2 seeds, fewer than 5: read it as a first look.",
        "Differences are over the seeds that random has too: emp 2 of 6.",
    ]
    alike = [one for one in results if one.method != "emp"]
    assert len(notes(summarise(alike, baseline="random"), alike, baseline="random")) == 1


def test_holm_multiplies_the_smallest_by_their_number_and_never_reverses_an_order() -> None:
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([]) == []
    assert all(map(math.isnan, holm([math.nan, math.nan])))


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    from statsmodels.stats.multitest import multipletests  # which takes seconds

    p_values = np.random.default_rng(seed).beta(0.3, 2, size=12)
    p_values[:3] = p_values[3]  # equal ones
    assert holm([math.nan, *p_values, math.nan])[1:-1] == multipletests(p_values, method="holm")[1].tolist()


def test_rows_carry_the_adjusted_p_of_as_many_differences_as_there_are() -> None:
    results = [*RESULTS, *(result("greedy", seed, 90 + 5 * seed, 1) for seed in range(2))]
    rows = {row.method: row for row in summarise(results, baseline="random")}
    p_values = [d.p_value for d in (rows[method].difference for method in ("emp", "greedy")) if d is not None]
    assert [rows["emp"].p_holm, rows["greedy"].p_holm] == pytest.approx(holm(p_values))
    assert not math.isnan(sum(p_values))
    assert math.isnan(rows["random"].p_holm)


def test_non_inferior_is_an_interval_wholly_above_the_margin() -> None:
    assert Estimate(-0.1, 0.15, 5).is_above(-0.3)
    assert not Estimate(-0.1, 0.25, 5).is_above(-0.3)
    rows = summarise(RESULTS, baseline="random")
    table = comparison_table(rows, margin=6).markdown()
    assert "| non-inferior |" in table
    assert "| emp | 93.50 ± 6.35 | +1.50 ± 6.35 | 0.205 | yes |" in table
    assert "above −6 points" in " ".join(notes(rows, RESULTS, baseline="random", margin=6))


def test_values_that_are_all_equal_have_no_interval_and_are_called_so() -> None:
    estimate = mean_interval([0.5, 0.5, 0.5])
    assert (estimate.mean, estimate.num_seeds) == (0.5, 3)
    assert math.isnan(estimate.half_width)
    assert math.isnan(estimate.p_value)
    assert not estimate.excludes_zero
    correct = {0: (300, 299), 1: (404, 403)}  # of 450; one more is 0.22222222222222854 and 0.22222222222221433
    rounded = paired_difference(*({seed: 100 * pair[k] / 450 for seed, pair in correct.items()} for k in (0, 1)))
    assert rounded is not None
    assert math.isnan(rounded.half_width)
    results = [result(method, seed, 90 + (method == "emp"), 1) for method in ("random", "emp") for seed in range(5)]
    rows = summarise(results, baseline="random")
    assert "| emp | 91.00 (all equal) | +1.00 (all equal) | – | – |" in comparison_table(rows, margin=6).markdown()
    assert "the same on every seed" in " ".join(notes(rows, results, baseline="random"))
    spread = [
        result(method, seed, 90 + seed * (1 + (method == "emp")), 1) for method in ("random", "emp") for seed in (0, 1)
    ]
    assert "the same" not in " ".join(notes(summarise(spread, baseline="random"), spread, baseline="random"))


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("optimizer_steps", 102, "100 to 102 optimizer steps"), ("final_learning_rate", 0.1, "rate")],
)
def test_what_is_not_of_equal_cost_is_said(name: str, value: Any, word: str) -> None:
    assert unequal_cost(RESULTS) is None
    assert unequal_cost([*RESULTS, result("emp", 2, 90, 1, optimizer_steps=101)]) is None
    assert word in str(unequal_cost([*RESULTS, result("emp", 2, 90, 1, **{name: value})]))
    assert unequal_cost([*RESULTS, result("full", 2, 90, 1, **{name: value})]) is None
