"""What a report says in words: right for winners and losers, and where something is missing."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from emprune_lab.comparison.rows import summarise
from emprune_lab.method_spec import DEFAULT_BASELINE as BASE
from emprune_lab.report.findings import Findings, findings_of, is_scored
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


def read(scores: Mapping[str, Sequence[float] | Mapping[int, float]], **more: Any) -> Findings:
    results = [
        result(method, seed, score, **more)
        for method, own in scores.items()
        for seed, score in (own.items() if isinstance(own, Mapping) else enumerate(own))
    ]
    return findings_of(summarise(results, baseline=BASE))


def plus(values: Sequence[float], gain: float, *, noise: float = 0.1) -> list[float]:
    """The values, each higher by `gain`, give or take."""
    return [value + gain + noise * (-1) ** place for place, value in enumerate(values)]


def test_a_score_that_pays_is_said_to_with_both_differences() -> None:
    reading = read({"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, 0.6)})
    assert reading.headline == "The score is worth having here: emp is 0.62 ± 0.14 above random permutation."
    assert reading.sentences == [
        "full reaches 90.20 ± 0.71 (5 seeds).",
        "emp at 30 % of the cost and 33 % of the training time is 0.36 ± 0.23 below full and 0.62 ± 0.14 above random "
        "permutation (5 seeds).",
        "random-permutation at 30 % of the cost and 33 % of the training time is 0.98 ± 0.10 below full (5 seeds).",
    ]
    assert reading.unit == "points of accuracy"


def test_where_the_interval_includes_zero_random_permutation_is_enough() -> None:
    reading = read({"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, 0.1, noise=0.5), "greedy": plus(RANDOM, -2)})
    assert reading.headline == (
        "Random permutation is enough here: emp, the best of 2 methods that score, shows no clear difference to random "
        "permutation (+0.20 ± 0.68). A gain of up to 0.88 is not excluded. Random permutation itself is "
        "0.98 ± 0.10 below full."
    )
    assert (
        "greedy at 30 % of the cost and 33 % of the training time is 2.96 ± 0.23 below full and 1.98 ± 0.14 below"
        in (reading.sentences[2])
    )


def test_where_even_the_best_score_loses_that_is_said() -> None:
    verdict = read({"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, -0.5), "greedy": plus(RANDOM, -2)}).headline
    assert verdict == (
        "Random permutation is enough here, and better: emp, the best of 2 methods that score, is 0.48 ± 0.14 below "
        "random permutation. Random permutation itself is 0.98 ± 0.10 below full."
    )


def test_the_best_of_several_is_not_sure_where_holm_is_not() -> None:
    scores = {
        BASE: RANDOM,
        **{f"emp:beta={beta}": plus(RANDOM, 0.35, noise=0.25 + 0.001 * beta) for beta in range(6)},
    }
    verdict = read(scores).headline
    assert verdict.startswith("The score is worth having here: emp:beta=5, the best of 6 methods that score, is")
    assert "It was picked as the best of several, though: adjusted for that (Holm), p is 0.19." in verdict


def test_a_sure_gain_is_not_hidden_by_a_higher_one_that_is_not() -> None:
    scores = {BASE: RANDOM, "emp": plus(RANDOM, 0.6), "greedy": plus(RANDOM, 0.5, noise=1.0)}
    assert read(scores).headline == (
        "The score is worth having here: emp, the best of those whose gain is sure when adjusted for all (Holm), is "
        "0.62 ± 0.14 above random permutation."
    )
    scores["ucb"] = plus(RANDOM, 0.9, noise=0.72)  # clear by itself, and not when adjusted
    assert "emp, the best of those whose gain is sure" in read(scores).headline


def test_a_gain_that_is_not_sure_among_several_is_named_beside_the_verdict() -> None:
    scores = {BASE: RANDOM, "emp": plus(RANDOM, 0.5, noise=1.0), "greedy": plus(RANDOM, 0.35, noise=0.3)}
    scores |= {f"ucb:c={c}": plus(RANDOM, 0.1, noise=0.5 + 0.1 * c) for c in range(3)}
    assert read(scores).headline == (
        "Random permutation is enough here: emp, the best of 5 methods that score, shows no clear difference to random "
        "permutation (+0.70 ± 1.36). A gain of up to 2.06 is not excluded. greedy is 0.41 ± 0.41 above random "
        "permutation, but it is one of several: adjusted for that (Holm), p is 0.25."
    )


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ({"emp": FULL}, "random-permutation was not run with these settings, so that nothing here says"),
        ({"full": FULL}, "random-permutation was not run with these settings"),
        ({BASE: RANDOM}, "No method that scores was run, so that there is nothing"),
        ({BASE: RANDOM, "random": RANDOM}, "No method that scores was run, so that there is nothing"),
        ({BASE: {0: 89.0}, "emp": {1: 90.0}}, "No method that scores shares a seed with random permutation"),
        ({BASE: [89.0], "emp": [90.0]}, "One seed cannot say whether a score is worth having: there emp is"),
        ({BASE: RANDOM, "emp": RANDOM}, "Random permutation is enough here: emp is level with random permutation on"),
        ({BASE: [1.0, 2.0, 3.0], "emp": [2.0, 3.0, 4.0]},
         "As far as 3 seeds can tell, emp is 1.00 above random permutation on every seed. Without any spread there is"),
        ({BASE: RANDOM[:3], "emp": plus(RANDOM[:3], 2)}, "As far as 3 seeds can tell, the score is worth having here"),
        ({BASE: RANDOM[:3], "emp": plus(RANDOM[:3], -2)},
         "As far as 3 seeds can tell, random permutation is enough here, and better: emp is"),
        ({BASE: RANDOM[:2], "emp": plus(RANDOM[:2], 0)}, "As far as 2 seeds can tell, random permutation is enough"),
    ],
)  # fmt: skip
def test_the_verdict_says_no_more_than_is_known(scores: dict[str, Any], verdict: str) -> None:
    assert read(scores).headline.startswith(verdict)


def test_without_a_method_that_scores_there_is_no_verdict() -> None:
    assert read({"full": FULL, BASE: RANDOM}).headline.startswith("No method that scores was run")


def test_a_missing_full_is_said_and_nothing_is_compared_to_it() -> None:
    reading = read({BASE: RANDOM, "emp": plus(RANDOM, 1)})
    assert reading.sentences == [
        "emp at 30 % of the cost is 1.02 ± 0.14 above random permutation (5 seeds).",
        "random-permutation at 30 % of the cost reaches 89.22 ± 0.68 (5 seeds).",
        "full was not run with these settings, so that what pruning loses is not known.",
    ]


def test_seeds_that_differ_are_told_apart() -> None:
    reading = read({"full": FULL[:2], BASE: RANDOM, "emp": plus(RANDOM, 1)})
    assert "2 seeds shared with full, 5 seeds shared with random permutation)." in reading.sentences[1]
    few = read({"full": FULL[:1], BASE: RANDOM[:2], "greedy": [87.0, 93.0]}).sentences[1]
    assert few.endswith(
        "is 3.00 below full and shows no clear difference to random permutation (+0.55 ± 32.40; one seed shared with "
        "full, 2 seeds shared with random permutation)."
    )
    alone = read({"full": {7: 90.0}, "emp": {0: 90.0}})
    assert "reaches 90.00 (one seed, so no interval; it shares no seed with what it" in alone.sentences[1]


def test_who_ran_the_easy_seeds_alone_is_not_the_best() -> None:
    rival = [92.0, 92.2, 89.0, 89.1, 88.9]
    few = {0: 91.6, 1: 92.1}
    others = {"emp": {7: 99.0}, "greedy": dict(enumerate(plus(rival, 1.1)))}
    reading = read({BASE: dict(enumerate(rival)), "emp:pool=2": few, **others})
    assert reading.headline == (
        "The score is worth having here: greedy is 1.12 ± 0.14 above random permutation. "
        "emp:pool=2 shares only 2 seeds with random permutation, fewer than others, and is left out of this. "
        "emp shares no seed with random permutation, fewer than others, and is left out of this."
    )
    assert [sentence.split()[0] for sentence in reading.sentences[:4]] == ["greedy", "emp:pool=2", "emp", BASE]


def test_the_best_is_so_by_its_difference_to_the_baseline_not_by_the_seeds_it_happened_to_have() -> None:
    rival = [80.0 + 2 * seed for seed in range(12)]
    low, high = range(6), range(5, 12)
    scores = {
        BASE: dict(enumerate(rival)),
        "emp": {seed: rival[seed] + 1.1 - 0.2 * (seed % 2) for seed in low},
        "greedy": {seed: rival[seed] + 0.4 - 0.2 * (seed % 2) for seed in high},
    }
    reading = read(scores)
    assert reading.headline.startswith("The score is worth having here: emp, the best of 2 methods that score, is 1.00")
    assert "left out" not in reading.headline


@pytest.mark.parametrize(
    ("gain", "held_out", "said"),
    [
        (0.6, -0.05, "and held-out data too (-0.049 ± 0.007)."),
        (0.0, -0.05, "and held-out data too (-0.049 ± 0.007), which its accuracy does not show."),
        (0.0, 0.0, "and is not shown to fit held-out data better (+0.001 ± 0.007)."),
        (-0.6, 0.05, "and held-out data worse (+0.051 ± 0.007): it overfits."),
    ],
)
def test_whether_a_lower_training_loss_carries_over_is_said(gain: float, held_out: float, said: str) -> None:
    losses = {BASE: (0.6, 0.9), "random": (0.6, 0.9), "emp": (0.5, 0.9 + held_out), "greedy": (0.55, 0.7)}
    gains = {BASE: 0.0, "random": 1.0, "emp": gain, "greedy": gain - 0.2}
    results = [
        result(method, seed, score, probe_loss=train + noise, loss=held + noise)
        for method, (train, held) in losses.items()
        for seed, score in enumerate(plus(RANDOM, gains[method], noise=0.1 if method != BASE else 0))
        for noise in [(0.005 if method != BASE else 0) * (-1) ** seed]
    ]
    verdict = findings_of(summarise(results, baseline=BASE)).headline
    assert verdict.endswith(
        f"By the loss emp fits the training data better than random permutation (-0.099 ± 0.007 nats), {said}"
    )


def test_a_held_out_loss_that_is_equal_on_every_seed_has_no_interval() -> None:
    results = [
        result(method, seed, 89.0, probe_loss=train + 0.01 * (seed % 2) * (method == "emp"), loss=0.9)
        for method, train in {BASE: 0.6, "emp": 0.5}.items()
        for seed in range(5)
    ]
    verdict = findings_of(summarise(results, baseline=BASE)).headline
    assert verdict.endswith(" nats), and is not shown to fit held-out data better (+0.000 on every seed).")


def test_where_training_losses_are_alike_or_not_known_nothing_is_said_of_them() -> None:
    scores = {BASE: RANDOM, "emp": plus(RANDOM, 0.6)}
    assert "By the loss" not in read(scores).headline
    assert "By the loss" not in read(scores, probe_loss=0.5, loss=0.9).headline


def test_one_seed_has_no_interval() -> None:
    (_, sentence, _) = read({"full": [90.0], BASE: [89.0], "emp": [89.5]}).sentences
    assert sentence.endswith("is 0.50 below full and 0.50 above random permutation (one seed, so no interval).")


def test_where_a_difference_is_not_clear_the_seeds_stand_in_its_parentheses() -> None:
    sentence = read({"full": FULL, BASE: RANDOM, "emp": plus(RANDOM, 0.1, noise=0.5)}).sentences[1]
    assert sentence.endswith(
        "is 0.78 ± 0.76 below full and shows no clear difference to random permutation (+0.20 ± 0.68; 5 seeds)."
    )


def test_the_unit_is_the_metric_s() -> None:
    assert read({"emp": [50.0]}, metric="Matthews", score=50.0).unit == "points of Matthews, 100 being perfect,"
    rows = summarise([result("emp", 0, 50.0)], baseline=BASE)
    assert findings_of(rows, probed=True).unit == "points of accuracy of a linear probe"


@pytest.mark.parametrize(
    ("method", "scored"),
    [("emp:beta=3", True), ("greedy", True), ("ucb", True), ("infobatch", True), ("of-somebody-else", True),
     ("full", False), ("random", False), ("static-random", False), (BASE, False)],
)  # fmt: skip
def test_what_scores_is_known(method: str, scored: bool) -> None:
    assert is_scored(method) == scored
