"""What a comparison says, in sentences: no more than its intervals allow.

Methods that score are set against random permutation, whatever the table's baseline is. It costs the same and needs no
score: what a score does not gain over it is not worth having.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emprune.errors import ConfigError
from emprune.methods import method_class
from emprune_lab.comparison.rows import Row
from emprune_lab.comparison.statistics import FEWEST_SEEDS, Estimate
from emprune_lab.method_spec import DEFAULT_BASELINE

__all__ = ["Findings", "best_first", "findings_of", "is_scored"]

BASELINE_NAME = "random permutation"
SURE = 0.05


@dataclass(frozen=True)
class Findings:
    """What is to be read from a table.

    Args:
        headline: Whether a score is worth having here.
        sentences: How each method did, the best first.
        unit: What the numbers are.
    """

    headline: str
    sentences: Sequence[str]
    unit: str


def findings_of(rows: Sequence[Row], *, probed: bool = False) -> Findings:
    """Return what the rows of one comparison say.

    Args:
        rows: With differences to the default baseline, whatever the table's is; at least one.
        probed: Whether accuracy is that of a linear probe.
    """
    by_name = {row.method: row for row in rows}
    full, baseline = by_name.get("full"), by_name.get(DEFAULT_BASELINE)
    pruned = [row for row in best_first(rows) if row is not full]
    sentences = [] if full is None else [f"full reaches {_value(full.score)} ({_seeds(full.score.num_seeds)})."]
    sentences += [_sentence(row, alone=full is None and baseline in (None, row)) for row in pruned]
    if full is None:
        sentences.append("full was not run with these settings, so that what pruning loses is not known.")
    unit = f"points of {rows[0].metric}, 100 being perfect,"
    if rows[0].metric == "accuracy":
        unit = "points of accuracy of a linear probe" if probed else "points of accuracy"
    return Findings(_headline(pruned, baseline), sentences, unit)


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Return the methods that score before the others, and the best first among either.

    The best has the largest difference to the baseline on the seeds that both have. A mean over all seeds of a method
    also depends on which seeds it has. Methods with few seeds come after methods with more, up to as many as an
    interval needs.

    Args:
        rows: With differences to the default baseline.
    """

    def gain(row: Row) -> float:
        if row.method == DEFAULT_BASELINE:
            return 0.0
        return row.score.mean if row.difference is None else row.difference.mean

    return sorted(rows, key=lambda row: (not is_scored(row.method), -_num_counted(row), -gain(row)))


def is_scored(method: str) -> bool:
    """Return whether a method, with its options, ranks samples by what a model makes of them."""
    if method == DEFAULT_BASELINE:  # which ranks too, by visits alone
        return False
    try:
        return method_class(method.partition(":")[0]).scores
    except ConfigError:  # one of somebody else's, which is not registered here
        return True


def _headline(pruned: Sequence[Row], baseline: Row | None) -> str:
    if baseline is None:
        return (
            f"{DEFAULT_BASELINE} was not run with these settings, so that nothing here says whether a score is worth "
            "having."
        )
    scored = [row for row in pruned if is_scored(row.method)]
    paired = [row for row in scored if row.difference is not None]
    if not scored:
        return f"No method that scores was run, so that there is nothing to set against {BASELINE_NAME}."
    if not paired:
        return f"No method that scores shares a seed with {BASELINE_NAME}: run the same seeds of both to compare them."
    judged = [row for row in paired if _num_counted(row) == _num_counted(paired[0])]
    best = next((row for row in judged if _wins(row) and row.p_holm < SURE), judged[0])
    left_out = [_left_out(row) for row in scored if row not in judged]
    return " ".join([*_judged(best, baseline, judged), *_overfit(best, judged), *left_out])


def _judged(best: Row, baseline: Row, judged: Sequence[Row]) -> list[str]:
    """What the paired difference to the baseline allows to say of the best method that scores, or of the surest.

    Where the best has a wide interval, another may be above the baseline beyond doubt, after adjusting for all (Holm).
    """
    gap = best.difference
    assert gap is not None
    who = f"{best.method}, the best of {len(judged)} methods that score,"
    if len(judged) == 1:
        who = best.method
    elif best is not judged[0]:
        who = f"{best.method}, the best of those whose gain is sure when adjusted for all (Holm),"
    said = f"{who} {_gap(gap)}."
    if gap.num_seeds == 1:
        return [f"One seed cannot say whether a score is worth having: there {said}"]
    few = f"As far as {gap.num_seeds} seeds can tell, " if gap.num_seeds < FEWEST_SEEDS else ""
    if math.isnan(gap.half_width) and gap.mean != 0:
        return [f"{few}{said}", "Without any spread there is no interval, and no verdict."]
    if _wins(best):
        said = f"{few}the score is worth having here: {said}"
        unsure = len(judged) > 1 and best.p_holm >= SURE
        caution = f"It was picked as the best of several, though: adjusted for that (Holm), p is {best.p_holm:.2f}."
        return [_capital(said), *([caution] if unsure else [])]
    enough = f"{few}{BASELINE_NAME} is enough here"
    if gap.excludes_zero:
        return [_capital(f"{enough}, and better: {said}"), *_price(baseline)]
    possible = gap.mean + gap.half_width
    bound = [] if math.isnan(possible) else [f"A gain of up to {possible:.2f} is not excluded."]
    return [_capital(f"{enough}: {said}"), *bound, *map(_unsure, filter(_wins, judged)), *_price(baseline)]


def _overfit(best: Row, judged: Sequence[Row]) -> list[str]:
    """Whether a lower training loss at the same cost, which is what scores are for, is there and carries over.

    Of the best method where it is above the baseline, else of the one that fits the training data best.
    """
    fits = {row.method: row.fit for row in judged if row.fit is not None}
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
    return [f"By the loss {method} fits the training data better than {BASELINE_NAME} ({fit.train:+.3f} nats), {said}."]


def _price(baseline: Row) -> list[str]:
    """What is enough among the pruned may be far from enough."""
    gap = baseline.to_full
    if gap is None or not gap.excludes_zero or gap.mean > 0:
        return []
    return [f"{BASELINE_NAME.capitalize()} itself {_gap(gap, 'full')}."]


def _unsure(row: Row) -> str:
    """Name a method with an interval above zero, where the best method's interval is not."""
    assert row.difference is not None
    holm = f"adjusted for that (Holm), p is {row.p_holm:.2f}"
    return f"{row.method} {_gap(row.difference)}, but it is one of several: {holm}."


def _left_out(row: Row) -> str:
    shared = "no seed" if row.difference is None else f"only {_count(row.difference.num_seeds)}"
    return f"{row.method} shares {shared} with {BASELINE_NAME}, fewer than others, and is left out of this."


def _sentence(row: Row, *, alone: bool) -> str:
    """How a method did beside `full` and the baseline, or `alone`, where there is nothing to set it against."""
    pairs = {"full": row.to_full, BASELINE_NAME: row.difference}
    gaps = {other: gap for other, gap in pairs.items() if gap is not None}
    time = "" if row.relative_time is None else f" and {_share(row.relative_time)} of the training time"
    subject = f"{row.method} at {_share(row.visits_fraction)} of the cost{time}"
    if not gaps:
        why = "" if alone else "; it shares no seed with what it would be compared to"
        return f"{subject} reaches {_value(row.score)} ({_seeds(row.score.num_seeds)}{why})."
    counts = {other: gap.num_seeds for other, gap in gaps.items()}
    seeds = ", ".join(f"{_count(number)} shared with {other}" for other, number in counts.items())
    if len(set(counts.values())) == 1:
        seeds = _seeds(next(iter(counts.values())))
    said, *more = [_gap(gap, other) for other, gap in gaps.items()]
    verb = said.split()[0]
    for other in more:
        said += f" and {other.removeprefix(f'{verb} ')}"
    return f"{subject} {said[:-1]}; {seeds})." if said.endswith(")") else f"{subject} {said} ({seeds})."


def _gap(gap: Estimate, other: str = BASELINE_NAME) -> str:
    """A difference in words, the verb first; where its interval includes zero, it is not called one."""
    size, side = f"{abs(gap.mean):.2f}", "above" if gap.mean > 0 else "below"
    if math.isnan(gap.half_width):
        alike = " on every seed" if gap.num_seeds > 1 else ""
        return f"is level with {other}{alike}" if gap.mean == 0 else f"is {size} {side} {other}{alike}"
    if gap.excludes_zero:
        return f"is {size} ± {gap.half_width:.2f} {side} {other}"
    return f"shows no clear difference to {other} ({gap:+.2f})"


def _wins(row: Row) -> bool:
    return row.difference is not None and row.difference.excludes_zero and row.difference.mean > 0


def _num_counted(row: Row) -> int:
    """How many seeds compare a method with the baseline, counted up to `FEWEST_SEEDS`: more do not matter."""
    said = row.score if row.method == DEFAULT_BASELINE else row.difference
    return 0 if said is None else min(said.num_seeds, FEWEST_SEEDS)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _seeds(count: int) -> str:
    return "one seed, so no interval" if count == 1 else _count(count)


def _count(num_seeds: int) -> str:
    return "one seed" if num_seeds == 1 else f"{num_seeds} seeds"


def _value(estimate: Estimate) -> str:
    return f"{estimate:.2f}".removesuffix(" (all equal)")


def _share(fraction: float) -> str:
    return f"{100 * fraction:.1f}".removesuffix(".0") + " %"
