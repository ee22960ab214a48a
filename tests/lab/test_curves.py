"""The lowest cost that loses nothing, and what a keep is worth: on curves that are known, and against slow twins."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from emprune_lab.comparison.curves import (
    Curves,
    KeepEstimate,
    curves_of,
    curves_table,
    draws,
    equivalent_keeps,
    lowest_keeps,
)
from emprune_lab.metrics import metric_of
from emprune_lab.report.enough import enough
from emprune_lab.results.record import RunRecord
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.reports import record_of

KEEPS = (0.1, 0.3, 0.5)
BASE = "random-permutation"
REACHED = {BASE: (80.0, 84.0, 88.0), "emp": (82.0, 87.0, 90.0), "greedy": (70.0, 79.0)}


def record(method: str, keep: float, seed: int, accuracy: float, **more: object) -> RunRecord:
    found = record_of(method, seed, accuracy=accuracy, **more)
    return RunRecord(found.settings.replace(keep=keep), found.found)


def records(num_seeds: int = 3, *, spread: Sequence[float] = (0.0, 1.0, 2.0)) -> list[RunRecord]:
    """Full training reaches 90 points; a seed adds the same to all."""
    found = []
    for seed in range(num_seeds):
        found.append(record("full", 1.0, seed, 90.0 + spread[seed]))
        for method, reached in REACHED.items():
            found += [record(method, keep, seed, y + spread[seed]) for keep, y in zip(KEEPS, reached, strict=False)]
    return found


def curves(found: Sequence[RunRecord], **options: float) -> Curves:
    made = curves_of(found, **options)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("reached", "keep"),
    [
        pytest.param((90.0, 90.0, 90.0, 90.0), 0.1, id="at-every-keep"),
        pytest.param((80.0, 88.0, 90.0, 90.0), 0.47, id="between-two-keeps"),
        pytest.param((90.0, 88.0, 90.0, 90.0), 0.47, id="an-early-height-does-not-count"),
        pytest.param((80.0, 84.0, 88.0, 90.0), 0.925, id="above-the-largest-keep"),
    ],
)
def test_the_lowest_cost_that_loses_nothing(reached: tuple[float, ...], keep: float) -> None:
    assert lowest_keeps(np.array([*KEEPS, 1.0]), np.array([reached]), 0.3) == pytest.approx(keep)


@pytest.mark.parametrize(
    ("accuracy", "keep"),
    [(79.0, 0.1), (80.0, 0.1), (82.0, 0.2), (84.0, 0.3), (87.0, 0.45), (90.0, 1.0), (90.1, math.inf)],
)
def test_the_equivalent_cost_of_random_permutation(accuracy: float, keep: float) -> None:
    keeps, reached = np.array([*KEEPS, 1.0]), np.array([accuracy])
    assert equivalent_keeps(keeps, np.array([[80.0, 84.0, 88.0, 90.0]]), reached) == pytest.approx(keep)


def test_a_curve_that_dips_has_reached_what_it_had() -> None:
    keeps, dipping = np.array([0.1, 0.2, 0.3, 1.0]), np.array([[80.0, 79.0, 84.0, 90.0]])
    assert equivalent_keeps(keeps, dipping, np.array([80.0])) == pytest.approx(0.1)
    assert equivalent_keeps(keeps, dipping, np.array([82.0])) == pytest.approx(0.25)


def slow_lowest(keeps: Sequence[float], scores: Sequence[float], margin: float) -> float:
    bound = scores[-1] - margin
    for (left, low), (right, high) in reversed(list(itertools.pairwise(zip(keeps, scores, strict=True)))):
        if low < bound:
            return left + (right - left) * (bound - low) / (high - low)
    return keeps[0]


def slow_equivalent(keeps: Sequence[float], scores: Sequence[float], reached: float) -> float:
    highest = list(itertools.accumulate(scores, max))
    if reached > highest[-1]:
        return math.inf
    if reached <= highest[0]:
        return keeps[0]
    right = next(place for place, high in enumerate(highest) if high >= reached)
    share = (reached - highest[right - 1]) / (highest[right] - highest[right - 1])
    return keeps[right - 1] + share * (keeps[right] - keeps[right - 1])


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6), st.integers(0, 100), st.integers(1, 30))
def test_many_curves_at_once_are_each_one_by_itself(scores: list[int], reached: int, margin: int) -> None:
    keeps = np.linspace(0.1, 1.0, len(scores))
    many = np.array([scores, scores[::-1]], dtype=float)
    lowest, equivalent = lowest_keeps(keeps, many, margin), equivalent_keeps(keeps, many, np.array([reached] * 2))
    for row, one in enumerate(many.tolist()):
        assert lowest[row] == pytest.approx(slow_lowest(keeps.tolist(), one, margin))
        assert equivalent[row] == pytest.approx(slow_equivalent(keeps.tolist(), one, reached))


def test_few_seeds_are_drawn_in_every_way_and_many_at_random() -> None:
    assert len({tuple(drawn) for drawn in draws(3)[1:].tolist()}) == 27
    assert draws(7).shape == (10_001, 7)
    assert np.array_equal(draws(7), draws(7))
    assert draws(7)[0].tolist() == list(range(7))


def test_methods_that_move_together_have_intervals_that_are_points() -> None:
    found = curves(records(), margin=0.3)
    assert found.methods == [BASE, "emp"]  # greedy lacks a keep
    assert str(found.loses_nothing_from("emp")) == "0.48 [0.48, 0.48]"
    assert str(found.loses_nothing_from(BASE)) == "0.93 [0.93, 0.93]"
    worth = [str(found.worth("emp", keep)) for keep in KEEPS]
    assert worth == ["0.20 [0.20, 0.20]", "0.45 [0.45, 0.45]", "1.00 [1.00, 1.00]"]
    assert str(found.worth("greedy", 0.3)) == "≤ 0.1 [≤ 0.1, ≤ 0.1]"


def test_an_interval_holds_the_middle_of_all_draws() -> None:
    own, full = {0: 80.0, 1: 84.0}, {0: 90.0, 1: 90.0}
    made = Curves(metric_of("accuracy"), {BASE: {0.5: own, 0.75: full}}, full, 1.0)
    # Of the four draws one has 80 twice, two 82, one 84: 1 point below 90 is reached at these keeps.
    by_hand = sorted(0.5 + 0.25 * (89 - mean) / (90 - mean) for mean in (80.0, 82.0, 82.0, 84.0))
    found = made.loses_nothing_from(BASE)
    assert (found.low, found.keep, found.high) == pytest.approx((by_hand[0], by_hand[1], by_hand[3]))


def test_only_seeds_that_both_ends_have_count() -> None:
    more = [*records(), record("full", 1.0, 7, 10.0), record("emp", 0.1, 8, 10.0)]
    assert curves(more, margin=0.3).loses_nothing_from("emp") == curves(records(), margin=0.3).loses_nothing_from("emp")
    lonely = [*records(), *(record("ucb", keep, 9, 80.0) for keep in KEEPS)]
    assert "ucb" not in curves(lonely).methods
    assert curves(lonely).worth("ucb", 0.1) is None


def test_one_seed_has_no_interval() -> None:
    assert str(curves(records(1), margin=0.3).loses_nothing_from("emp")) == "0.48"


def test_where_less_is_better_curves_are_turned() -> None:
    turned = [
        record(
            one.method, one.settings.cost.keep, one.seed, 0.0, metric="bits per byte", score=5 - one["accuracy"] / 100
        )
        for one in records()
    ]
    found = curves(turned, margin=0.003)
    assert str(found.loses_nothing_from("emp")) == "0.48 [0.48, 0.48]"
    table = curves_table(found)
    assert table.heads[2] == "bits per byte"
    assert [row[2][:6] for row in table.rows if row[0] == "full"] == ["4.0900"]


@pytest.mark.parametrize("without", ["full", BASE, "all but one keep"])
def test_without_a_curve_nothing_is_said(without: str) -> None:
    left = [one for one in records() if one.method != without]
    if without == "all but one keep":
        left = [one for one in records() if one.method == "full" or one.settings.cost.keep == 0.3]
    assert curves_of(left) is None


def test_the_answer_names_the_method_that_needs_the_least_and_what_it_is_worth() -> None:
    answer = enough(curves(records(), margin=0.3))
    assert answer is not None
    assert (answer.question, answer.short) == ("Enough", "keep 0.48")
    assert answer.sentences == (
        "emp loses at most 0.3 points from keep 0.48 [0.48, 0.48] on; random-permutation from > 0.5. "
        "emp at keep 0.1, 0.3, 0.5 reaches what random-permutation does at 0.20, 0.45, 1.00. "
        "The seeds are few, so the intervals are too narrow."
    )


def test_where_no_keep_that_was_run_is_enough_none_is_made_up() -> None:
    answer = enough(curves([one for one in records() if one.method != "emp"], margin=0.3))
    assert answer is not None
    assert answer.short == "keep > 0.5"
    assert answer.sentences == (
        "random-permutation loses at most 0.3 points from keep > 0.5 on. No keep above 0.5 was run. "
        "The seeds are few, so the intervals are too narrow."
    )


def test_a_table_has_a_row_for_each_method_and_keep() -> None:
    rows: Mapping[tuple[str, str], Sequence[str]] = {
        (row[0], row[1]): row[2:] for row in curves_table(curves(records())).rows
    }
    assert len(rows) == 3 + 3 + 2 + 1
    assert rows["emp", "0.3"] == ["88.00 ± 2.48", "+3.00 (all equal)", "0.45 [0.45, 0.45]"]
    assert rows[BASE, "0.3"][1:] == rows["full", "1"][1:] == ["–", "–"]


def test_keeps_beyond_what_was_run_are_said_so() -> None:
    assert str(KeepEstimate(math.inf, 0.1, math.inf, least=0.1, num_seeds=3)) == "> 1 [≤ 0.1, > 1]"


def test_where_no_seed_is_shared_with_full_training_there_is_no_answer() -> None:
    left = [one for one in records() if one.method != "full"]
    assert enough(curves([*left, record("full", 1.0, 9, 90.0)])) is None
