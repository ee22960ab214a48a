"""What a comparison says, in sentences: no more than its intervals allow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emprune.errors import ConfigError
from emprune.methods import method_class
from emprune_lab.comparison.experiment import DEFAULT_BASELINE
from emprune_lab.comparison.rows import Row
from emprune_lab.comparison.statistics import FEWEST_SEEDS, Estimate

__all__ = ["RIVAL", "Reading", "best_first", "is_scored", "read_rows"]

RIVAL = DEFAULT_BASELINE
"""What a score must beat to be worth having: it costs the same, and needs none."""

RIVAL_NAME = "random permutation"
"""By how much of all visits a method may exceed the rival's cost and still be set against it."""

SURE = 0.05


@dataclass(frozen=True)
class Reading:
    """What is to be read from a table.

    Args:
        verdict: Whether a score is worth having here.
        sentences: How each method did, the best first.
        unit: What the numbers are.
    """

    verdict: str
    sentences: Sequence[str]
    unit: str


def read_rows(rows: Sequence[Row], *, probed: bool = False) -> Reading:
    """Return what the rows of one comparison say.

    Args:
        rows: With differences to `RIVAL`, whatever the table's baseline is; at least one.
        probed: Whether accuracy is that of a linear probe.
    """
    full = next((row for row in rows if row.method == "full"), None)
    rival = next((row for row in rows if row.method == RIVAL), None)
    pruned = [row for row in best_first(rows) if row is not full]
    sentences = [_alone(full)] if full is not None else []
    sentences += [_sentence(row, full=full, rival=rival) for row in pruned]
    if full is None:
        sentences.append("full was not run with these settings, so that what pruning loses is not known.")
    return Reading(_verdict(pruned, rival), sentences, _unit(rows[0].metric, probed=probed))


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Return the methods that score before the others, and the best first among either.

    The best is so by its difference to the rival on the seeds that both have: a mean over seeds of its own says who had
    the easy ones. What few seeds say comes after what more say, up to as many as an interval needs.

    Args:
        rows: With differences to `RIVAL`.
    """
    return sorted(rows, key=lambda row: (not is_scored(row.method), -_weight(row), -_merit(row)))


def is_scored(method: str) -> bool:
    """Return whether a method, with its options, ranks samples by what a model makes of them."""
    if method == RIVAL:  # which ranks too, by visits alone
        return False
    try:
        return method_class(method.partition(":")[0]).scores
    except ConfigError:  # one of somebody else's, which is not registered here
        return True


def _verdict(pruned: Sequence[Row], rival: Row | None) -> str:
    scored = [row for row in pruned if is_scored(row.method)]
    if rival is None:
        return f"{RIVAL} was not run with these settings, so that nothing here says whether a score is worth having."
    paired = [row for row in scored if row.difference is not None]
    if not scored:
        return f"No method that scores was run, so that there is nothing to set against {RIVAL_NAME}."
    if not paired:
        return f"No method that scores shares a seed with {RIVAL_NAME}: run the same seeds of both to compare them."
    judged = [row for row in paired if _weight(row) == _weight(paired[0])]
    best = next((row for row in judged if _wins(row) and row.p_holm < SURE), judged[0])
    left_out = [_left_out(row) for row in scored if row not in judged]
    return " ".join([*_judged(best, rival, judged), *_why(best, judged), *left_out])


def _judged(best: Row, rival: Row, judged: Sequence[Row]) -> list[str]:
    """What the paired difference to the rival allows to say, of the method that scores and is the best, or the surest.

    Where the best has a wide interval, another may be above the rival beyond doubt, after adjusting for all (Holm).
    """
    gap = best.difference
    assert gap is not None
    who = f"{best.method}, the best of {len(judged)} methods that score,"
    if len(judged) == 1:
        who = best.method
    elif best is not judged[0]:
        who = f"{best.method}, the best of those whose gain is sure when adjusted for all (Holm),"
    said = f"{who} {' '.join(_gap(gap, RIVAL_NAME))}."
    if gap.num_seeds == 1:
        return [f"One seed cannot say whether a score is worth having: there {said}"]
    few = f"As far as {gap.num_seeds} seeds can tell, " if gap.num_seeds < FEWEST_SEEDS else ""
    if math.isnan(gap.half_width) and gap.mean != 0:
        return [_sentence_case(f"{few}{said}"), "Without any spread there is no interval, and no verdict."]
    if _wins(best):
        return [_sentence_case(f"{few}the score is worth having here: {said}"), *_caution(best, len(judged))]
    enough = f"{few}{RIVAL_NAME} is enough here"
    if gap.excludes_zero:
        return [_sentence_case(f"{enough}, and better: {said}"), *_price(rival)]
    possible = gap.mean + gap.half_width
    bound = [] if math.isnan(possible) else [f"A gain of up to {possible:.2f} is not excluded."]
    return [_sentence_case(f"{enough}: {said}"), *bound, *map(_unsure, filter(_wins, judged)), *_price(rival)]


def _why(best: Row, paired: Sequence[Row]) -> list[str]:
    """Whether a lower training loss at the same cost, which is what scores are for, is there and carries over.

    Of the best method where it is above the rival, else of the one that fits the training data best.
    """
    fits = {row.method: row.fit for row in paired if row.fit is not None}
    wins = _wins(best)
    method = best.method if wins else min(fits, key=lambda method: fits[method].train.mean, default="")
    fit = fits.get(method)
    if fit is None or not (fit.train.excludes_zero and fit.train.mean < 0):
        return []
    held_out = f"{fit.held_out:+.3f}".replace(" (all equal)", " on every seed")
    if not fit.held_out.excludes_zero:
        said = f"and is not shown to fit held-out data better ({held_out})"
    elif fit.held_out.mean < 0:
        said = f"and held-out data too ({held_out}){'' if wins else ', which its accuracy does not show'}"
    else:
        said = f"and held-out data worse ({held_out}): it overfits"
    better = f"fits the training data better than {RIVAL_NAME} ({fit.train:+.3f} nats)"
    return [f"By the loss {method} {better}, {said}."]


def _price(rival: Row) -> list[str]:
    """What is enough among the pruned may be far from enough."""
    gap = rival.to_full
    if gap is None or not gap.excludes_zero or gap.mean > 0:
        return []
    return [f"{RIVAL_NAME.capitalize()} itself {' '.join(_gap(gap, 'full'))}."]


def _caution(best: Row, num_scored: int) -> list[str]:
    if num_scored == 1 or not best.p_holm >= SURE:
        return []
    return [f"It was picked as the best of several, though: adjusted for that (Holm), p is {best.p_holm:.2f}."]


def _unsure(row: Row) -> str:
    """Of one whose interval lies above zero where the best's does not."""
    assert row.difference is not None
    above = " ".join(_gap(row.difference, RIVAL_NAME))
    return f"{row.method} {above}, but it is one of several: adjusted for that (Holm), p is {row.p_holm:.2f}."


def _wins(row: Row) -> bool:
    return row.difference is not None and row.difference.excludes_zero and row.difference.mean > 0


def _left_out(row: Row) -> str:
    shared = "no seed" if row.difference is None else f"only {_count(row.difference.num_seeds)}"
    return f"{row.method} shares {shared} with {RIVAL_NAME}, fewer than others, and is left out of this."


def _sentence(row: Row, *, full: Row | None, rival: Row | None) -> str:
    gaps = []
    if row.to_full is not None:
        gaps.append(("full", row.to_full))
    if row.difference is not None:
        gaps.append((RIVAL_NAME, row.difference))
    time = "" if row.relative_time is None else f" and {_share(row.relative_time)} of the training time"
    subject = f"{row.method} at {_share(row.visits_fraction)} of the cost{time}"
    if not gaps:
        shares_none = full is not None or (rival is not None and rival is not row)
        why = "; it shares no seed with what it would be compared to" if shares_none else ""
        return f"{subject} reaches {_value(row.score)} ({_seeds(row.score.num_seeds)}{why})."
    (verb, said), *more = [_gap(gap, other) for other, gap in gaps]
    for other_verb, other_said in more:
        said += f" and {other_said}" if other_verb == verb else f" and {other_verb} {other_said}"
    seeds = _paired_seeds(gaps)
    return f"{subject} {verb} {said[:-1]}; {seeds})." if said.endswith(")") else f"{subject} {verb} {said} ({seeds})."


def _alone(row: Row) -> str:
    return f"{row.method} reaches {_value(row.score)} ({_seeds(row.score.num_seeds)})."


def _gap(gap: Estimate, other: str) -> tuple[str, str]:
    """A difference in words, the verb apart; where its interval includes zero, it is not called one."""
    size, side = f"{abs(gap.mean):.2f}", "above" if gap.mean > 0 else "below"
    if math.isnan(gap.half_width):
        alike = " on every seed" if gap.num_seeds > 1 else ""
        return "is", f"level with {other}{alike}" if gap.mean == 0 else f"{size} {side} {other}{alike}"
    if gap.excludes_zero:
        return "is", f"{size} ± {gap.half_width:.2f} {side} {other}"
    return "shows", f"no clear difference to {other} ({gap:+.2f})"


def _sentence_case(text: str) -> str:
    """With a capital, unless it begins with a method's name."""
    return text[0].upper() + text[1:] if text.startswith(("as far", "the score", RIVAL_NAME)) else text


def _paired_seeds(gaps: Sequence[tuple[str, Estimate]]) -> str:
    counts = {gap.num_seeds for _, gap in gaps}
    if len(counts) == 1:
        return _seeds(counts.pop())
    return ", ".join(f"{_count(gap.num_seeds)} shared with {other}" for other, gap in gaps)


def _seeds(count: int) -> str:
    return "one seed, so no interval" if count == 1 else _count(count)


def _count(num_seeds: int) -> str:
    return "one seed" if num_seeds == 1 else f"{num_seeds} seeds"


def _value(estimate: Estimate) -> str:
    spread = "" if math.isnan(estimate.half_width) else f" ± {estimate.half_width:.2f}"
    return f"{estimate.mean:.2f}{spread}"


def _share(fraction: float) -> str:
    return f"{100 * fraction:.1f}".removesuffix(".0") + " %"


def _weight(row: Row) -> int:
    """The seeds that say how a method does beside the rival, of which `FEWEST_SEEDS` are enough."""
    said = row.score if row.method == RIVAL else row.difference
    return 0 if said is None else min(said.num_seeds, FEWEST_SEEDS)


def _merit(row: Row) -> float:
    """How far a method is above the rival; where nothing is paired with it, the method's own mean."""
    if row.method == RIVAL:
        return 0.0
    return row.score.mean if row.difference is None else row.difference.mean


def _unit(metric: str, *, probed: bool) -> str:
    if metric != "accuracy":
        return f"points of {metric}, 100 being perfect,"
    return "points of accuracy of a linear probe" if probed else "points of accuracy"
