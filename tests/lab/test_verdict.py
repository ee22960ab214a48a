"""What is said of a comparison: right for winners and losers, no surer than the data, and where something lacks."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from emprune_lab.method_spec import DEFAULT_BASELINE as BASE
from emprune_lab.report.verdict import Verdict, is_scored, verdict_of
from emprune_lab.results.record import RunRecord

from tests.lab.reports import record_of

FULL = [90.0, 91.0, 90.5, 89.5, 90.0]
RANDOM = [89.0, 89.9, 89.6, 88.5, 89.1]
SHARES = {"full": 1.0}


def result(method: str, seed: int, accuracy: float, **more: Any) -> RunRecord:
    return record_of(
        method,
        seed,
        accuracy=accuracy,
        visits_fraction=SHARES.get(method, 0.3),
        optimizer_steps=100,
        train_seconds=100.0 * SHARES.get(method, 0.33),
        **more,
    )


def read(
    scores: Mapping[str, Sequence[float] | Mapping[int, float]], *, margin: float | None = None, **more: Any
) -> Verdict:
    results = [
        result(method, seed, score, **more)
        for method, own in scores.items()
        for seed, score in (own.items() if isinstance(own, Mapping) else enumerate(own))
    ]
    return verdict_of(results, margin=margin)


def said(verdict: Verdict, question: str = "Which") -> str:
    (answer,) = [answer for answer in verdict.answers if answer.question == question]
    return f"{answer.short}. {answer.sentences}"


def plus(values: Sequence[float], gain: float, *, noise: float = 0.1) -> list[float]:
    """The values, each higher by `gain`, give or take."""
    return [value + gain + noise * (-1) ** place for place, value in enumerate(values)]


def test_a_score_that_pays_is_advised_with_its_price() -> None:
    verdict = read({"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, 0.6)})
    assert [answer.question for answer in verdict.answers] == ["Save", "Lose", "Which"]
    assert said(verdict, "Save") == (
        "67 % of the time. emp takes 33 % of full's training time, for 30 % of its visits."
    )
    assert said(verdict, "Lose") == (
        "0.36 ± 0.23 points below full. emp against full, paired over 5 seeds. Random permutation is 0.98 ± 0.10 "
        "points below it."
    )
    assert said(verdict) == "emp. The score is worth having. emp is 0.62 ± 0.14 points above random permutation."
    assert verdict.cautions == []


@pytest.mark.parametrize(("gain", "also"), [(1.5, True), (0.0, False)])
def test_beside_a_score_that_pays_stands_what_gains_without_any(gain: float, also: bool) -> None:
    verdict = read({BASE: RANDOM, "emp": plus(RANDOM, 0.6), f"{BASE}@equal": plus(RANDOM, gain)})
    more = f" {BASE}@equal needs no score, and is 1.52 ± 0.14 points above random permutation too." if also else ""
    score = "The score is worth having. emp is 0.62 ± 0.14 points above random permutation."
    assert said(verdict) == f"emp. {score}{more}"


def test_a_difference_inside_the_margin_makes_random_permutation_enough() -> None:
    scores = {"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, 0.05, noise=0.2), "greedy": plus(RANDOM, -2)}
    verdict = read(scores)
    assert said(verdict) == (
        "random permutation. Random permutation is enough. emp, the best of 2 that score, differs by +0.09 ± 0.27 "
        "points, inside ±0.5."
    )
    assert said(verdict, "Lose").startswith("0.98 ± 0.10 points below full. Random permutation against full, paired")
    assert said(read(scores, margin=0.4)).endswith("inside ±0.4.")
    assert said(read(scores, margin=0.3)).startswith("5 seeds cannot tell.")


@pytest.mark.parametrize("sign", [-1, 1])
def test_two_small_runs_of_opposite_signs_both_say_that_they_cannot_tell(sign: int) -> None:
    verdict = read({"full": FULL[:3], BASE: RANDOM[:3], "emp": plus(RANDOM[:3], sign * 0.4, noise=0.5)})
    gap = "+0.57 ± 1.43" if sign > 0 else "−0.23 ± 1.43"
    assert said(verdict) == (
        f"3 seeds cannot tell. emp differs from random permutation by {gap} points. About 23 seeds would narrow "
        "that to ±0.25."
    )
    assert said(verdict, "Save").startswith("67 % of the time. Random permutation takes")


@pytest.mark.parametrize("noise", [0.3, 0.6])
@pytest.mark.parametrize("mean", [0.0, 0.1, 0.2, 0.24, 0.26, 0.3, 0.4, 0.5, 0.7])
def test_as_many_seeds_as_are_advised_do_decide_where_they_have_the_same_spread(mean: float, noise: float) -> None:
    advice = said(read({BASE: RANDOM, "emp": plus(RANDOM, 0.3, noise=noise)}))
    advised = int(advice.partition("About ")[2].split()[0])
    level = [80.0 + seed % 3 for seed in range(advised)]
    turn = [(-1) ** seed for seed in range(advised)]
    spread = statistics.stdev(plus([0.0] * 5, 0.0, noise=noise)) / statistics.stdev(turn)
    shift = mean - spread * statistics.mean(turn)
    verdict = read({BASE: level, "emp": plus(level, shift, noise=spread)})
    assert "cannot tell" in advice
    assert "cannot tell" not in said(verdict)


def test_the_seeds_that_are_advised_are_said_with_the_interval_that_they_give() -> None:
    verdict = read({BASE: RANDOM, "emp": plus(RANDOM, 0.3, noise=0.3)})
    assert said(verdict).endswith("by +0.36 ± 0.41 points. About 10 seeds would narrow that to ±0.25.")


def test_fewer_seeds_than_five_are_never_advised() -> None:
    verdict = read({BASE: RANDOM[:3], "emp": plus(RANDOM[:3], 0.2, noise=0.1)})
    assert said(verdict).startswith("3 seeds cannot tell.")
    assert said(verdict).endswith("About 5 seeds would narrow that to ±0.25.")


def test_what_is_above_full_is_no_loss() -> None:
    verdict = read({"full": FULL, BASE: plus(FULL, 0.6)})
    assert said(verdict, "Lose").startswith("0.62 ± 0.14 points above full. Random permutation against full")


def test_how_many_seeds_would_tell_is_said_with_two_digits() -> None:
    verdict = read({BASE: RANDOM, "emp": plus(RANDOM, 0.0, noise=10)})
    assert said(verdict).endswith("About 7,400 seeds would narrow that to ±0.25.")


def test_where_even_the_best_score_loses_that_is_said() -> None:
    verdict = read({"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, -0.5), "greedy": plus(RANDOM, -2)})
    assert said(verdict) == (
        "random permutation. Random permutation is better. emp, the best of 2 that score, is 0.48 ± 0.14 points "
        "below it."
    )


def test_the_best_of_several_is_not_sure_where_holm_is_not() -> None:
    scores = {
        BASE: RANDOM,
        **{f"emp:beta={beta}": plus(RANDOM, 0.35, noise=0.25 + 0.001 * beta) for beta in range(6)},
    }
    assert said(read(scores)) == (
        "5 seeds cannot tell. emp:beta=5, the best of 6 that score, differs from random permutation by +0.40 ± 0.35 "
        "points. Adjusted for their number (Holm), p is 0.19."
    )


def test_a_sure_gain_is_not_hidden_by_a_higher_one_that_is_not() -> None:
    scores = {BASE: RANDOM, "emp": plus(RANDOM, 0.6), "greedy": plus(RANDOM, 0.5, noise=1.0)}
    assert said(read(scores)) == (
        "emp. The score is worth having. emp, the best whose gain is sure when adjusted for all (Holm), is "
        "0.62 ± 0.14 points above random permutation."
    )
    scores["ucb"] = plus(RANDOM, 0.9, noise=0.72)  # clear by itself, and not when adjusted
    assert said(read(scores)).startswith("emp. The score is worth having")


def test_a_gain_that_is_not_sure_among_several_is_named_beside_the_verdict() -> None:
    scores = {BASE: RANDOM, "emp": plus(RANDOM, 0.5, noise=1.0), "greedy": plus(RANDOM, 0.35, noise=0.3)}
    scores |= {f"ucb:c={c}": plus(RANDOM, 0.1, noise=0.5 + 0.1 * c) for c in range(3)}
    verdict = read(scores)
    assert said(verdict).startswith("5 seeds cannot tell. emp, the best of 5 that score, differs")
    assert verdict.cautions == [
        "greedy is 0.41 ± 0.41 points above random permutation, but one of several. Adjusted for their number (Holm), "
        "p is 0.25."
    ]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"emp": FULL}, "not known. Random permutation was not run."),
        ({"full": FULL}, "not known. Random permutation was not run."),
        ({BASE: RANDOM}, "not known. No method that scores was run beside random permutation."),
        ({BASE: RANDOM, "random": RANDOM}, "not known. No method that scores was run beside random permutation."),
        ({BASE: {0: 89.0}, "emp": {1: 90.0}}, "not known. No method that scores shares a seed"),
        ({BASE: [89.0], "emp": [90.0]},
         "One seed cannot tell. emp differs from random permutation by +1.00 points. Run 5 seeds."),
        ({BASE: RANDOM, "emp": RANDOM}, "5 seeds cannot tell. emp differs from random permutation by +0.00 points. "
         "It is as much on every seed: without any spread there is no interval."),
        ({BASE: [1.0, 2.0, 3.0], "emp": [2.0, 3.0, 4.0]},
         "3 seeds cannot tell. emp differs from random permutation by +1.00 points. It is as much"),
        ({BASE: RANDOM[:3], "emp": plus(RANDOM[:3], 2)}, "emp. The score is worth having, as far as 3 seeds can tell."),
        ({BASE: RANDOM[:3], "emp": plus(RANDOM[:3], -2)},
         "random permutation. Random permutation is better, as far as 3 seeds can tell. emp is"),
        ({BASE: RANDOM[:2], "emp": plus(RANDOM[:2], 0, noise=0.02)},
         "random permutation. Random permutation is enough, as far as 2 seeds can tell."),
        ({BASE: RANDOM[:2], "emp": plus(RANDOM[:2], 0)}, "2 seeds cannot tell."),
    ],
)  # fmt: skip
def test_the_verdict_says_no_more_than_is_known(scores: dict[str, Any], expected: str) -> None:
    assert said(read(scores)).startswith(expected)


@pytest.mark.parametrize(
    ("scores", "save", "lose"),
    [
        ({"full": FULL}, "nothing. Only full was run.", "nothing. Only full was run."),
        ({BASE: RANDOM, "emp": RANDOM},
         "70 % of the visits. Random permutation has 30 % of the visits. Its share of full's time is not known.",
         "not known. full was not run with these settings."),
        ({"full": {7: 90.0}, "emp": {0: 90.0}},
         "70 % of the visits. emp has 30 % of the visits. Its share of full's time is not known.",
         "not known. emp shares no seed with full."),
        ({"full": [90.0], BASE: RANDOM},
         "67 % of the time. Random permutation takes 33 % of full's training time, for 30 % of its visits.",
         "1.00 points below full. Random permutation shares one seed with full, so there is no interval."),
        ({"full": RANDOM, BASE: RANDOM},
         "67 % of the time. Random permutation takes 33 % of full's training time, for 30 % of its visits.",
         "0.00 points below full. Random permutation against full, as much on each of 5 seeds, so there is no "
         "interval."),
        ({"full": plus(RANDOM, 0.1, noise=0.5), BASE: RANDOM},
         "67 % of the time. Random permutation takes 33 % of full's training time, for 30 % of its visits.",
         "0.20 ± 0.68 points below full. Random permutation against full, paired over 5 seeds, which is no clear "
         "difference."),
    ],
)  # fmt: skip
def test_what_is_saved_and_lost_is_that_of_the_method_advised(scores: dict[str, Any], save: str, lose: str) -> None:
    verdict = read(scores)
    assert (said(verdict, "Save"), said(verdict, "Lose")) == (save, lose)


def test_a_method_that_takes_longer_than_full_saves_no_time() -> None:
    slow = result(BASE, 0, 89.0)
    slow = dataclasses.replace(slow, found={**slow.found, "train_seconds": 120.0})
    saved = said(verdict_of([result("full", 0, 90.0), slow]), "Save")
    assert saved.startswith("no time. Random permutation takes 120 % of full's")


def test_runs_of_another_machine_than_full_s_save_visits_and_no_known_time() -> None:
    there = [result("full", 0, 90.0, machine={"device_name": "a slow one", "precision": "fp32"}), result(BASE, 0, 89.0)]
    assert said(verdict_of(there), "Save") == (
        "70 % of the visits. Random permutation has 30 % of the visits. Its share of full's time is not known."
    )


def test_who_ran_the_easy_seeds_alone_is_not_the_best() -> None:
    rival = [92.0, 92.2, 89.0, 89.1, 88.9]
    few = {0: 91.6, 1: 92.1}
    others = {"emp": {7: 99.0}, "greedy": dict(enumerate(plus(rival, 1.1)))}
    verdict = read({BASE: dict(enumerate(rival)), "emp:pool=2": few, **others})
    assert said(verdict).endswith("greedy is 1.12 ± 0.14 points above random permutation.")
    assert verdict.cautions == [
        "emp:pool=2 shares only 2 seeds with random permutation, fewer than others. The verdict leaves it out.",
        "emp shares no seed with random permutation, fewer than others. The verdict leaves it out.",
    ]


def test_the_best_is_so_by_its_difference_to_the_baseline_not_by_the_seeds_it_happened_to_have() -> None:
    rival = [80.0 + 2 * seed for seed in range(12)]
    low, high = range(6), range(5, 12)
    scores = {
        BASE: dict(enumerate(rival)),
        "emp": {seed: rival[seed] + 1.1 - 0.2 * (seed % 2) for seed in low},
        "greedy": {seed: rival[seed] + 0.4 - 0.2 * (seed % 2) for seed in high},
    }
    verdict = read(scores)
    assert said(verdict).startswith("emp. The score is worth having. emp, the best of 2 that score, is 1.00")
    assert verdict.cautions == []


@pytest.mark.parametrize(
    ("gain", "held_out", "expected"),
    [
        (0.6, -0.05, "It fits held-out data better too (-0.049 ± 0.007)."),
        (0.0, -0.05, "It fits held-out data better too (-0.049 ± 0.007), which its accuracy does not show."),
        (0.0, 0.0, "It is not shown to fit held-out data better (+0.001 ± 0.007)."),
        (-0.6, 0.05, "It fits held-out data worse (+0.051 ± 0.007): it overfits."),
    ],
)
def test_whether_a_lower_training_loss_carries_over_is_said(gain: float, held_out: float, expected: str) -> None:
    losses = {BASE: (0.6, 0.9), "random": (0.6, 0.9), "emp": (0.5, 0.9 + held_out), "greedy": (0.55, 0.7)}
    gains = {BASE: 0.0, "random": 1.0, "emp": gain, "greedy": gain - 0.2}
    results = [
        result(method, seed, score, probe_loss=train + noise, loss=held + noise)
        for method, (train, held) in losses.items()
        for seed, score in enumerate(plus(RANDOM, gains[method], noise=0.1 if method != BASE else 0))
        for noise in [(0.005 if method != BASE else 0) * (-1) ** seed]
    ]
    assert verdict_of(results).cautions == [
        f"By the loss emp fits the training data better than random permutation (-0.099 ± 0.007 nats). {expected}"
    ]


def test_a_held_out_loss_that_is_equal_on_every_seed_has_no_interval() -> None:
    results = [
        result(method, seed, 89.0, probe_loss=train + 0.01 * (seed % 2) * (method == "emp"), loss=0.9)
        for method, train in {BASE: 0.6, "emp": 0.5}.items()
        for seed in range(5)
    ]
    (caution,) = verdict_of(results).cautions
    assert caution.endswith("It is not shown to fit held-out data better (+0.000 on every seed).")


def test_where_training_losses_are_alike_or_not_known_nothing_is_said_of_them() -> None:
    scores = {BASE: RANDOM, "emp": plus(RANDOM, 0.6)}
    assert read(scores).cautions == read(scores, probe_loss=0.5, loss=0.9).cautions == []


@pytest.mark.parametrize(
    ("method", "scored"),
    [("emp:beta=3", True), ("greedy", True), ("ucb", True), ("infobatch", True), ("of-somebody-else", True),
     ("full", False), ("random", False), ("static-random", False), (BASE, False)],
)  # fmt: skip
def test_what_scores_is_known(method: str, scored: bool) -> None:
    assert is_scored(method) == scored
