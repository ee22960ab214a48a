"""What a person asks of a comparison: what is saved, what is lost, and which method. No surer than its intervals.

Methods that score are set against random permutation, whatever the table's baseline is. It costs the same and needs no
score: what a score does not gain over it is not worth having.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emprune.errors import ConfigError
from emprune.methods import method_class
from emprune_lab.comparison.rows import Row, summarise
from emprune_lab.comparison.statistics import FEWEST_SEEDS, Estimate, seeds_for
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.metrics import Metric, capital
from emprune_lab.results.record import RunRecord

__all__ = ["Answer", "Verdict", "best_first", "is_scored", "verdict_of"]

BASELINE_NAME = "random permutation"
SURE = 0.05


@dataclass(frozen=True)
class Answer:
    """An answer to one question.

    Args:
        question: In a word.
        short: The answer in a few words.
        sentences: What it rests on.
    """

    question: str
    short: str
    sentences: str


@dataclass(frozen=True)
class Verdict:
    """What is to be read from a table.

    Args:
        answers: What the method saves that is advised, what it loses, and whether a score is worth having. Advised is
            the method with a sure gain, else the one that needs no score.
        cautions: What else must be known, in sentences.
    """

    answers: Sequence[Answer]
    cautions: Sequence[str]


def verdict_of(results: Sequence[RunRecord], *, margin: float | None = None) -> Verdict:
    """Return what the results of one comparison say.

    Args:
        results: Of finished runs, at least one; each method at most once for each seed.
        margin: A difference that is too small to matter, positive; None for the metric's own.
    """
    rows = best_first(summarise(results, baseline=DEFAULT_BASELINE))
    by_name = {row.method: row for row in rows}
    scored = [row for row in rows if is_scored(row.method)]
    paired = [row for row in scored if row.difference is not None]
    judged = [row for row in paired if _num_counted(row) == _num_counted(paired[0])]
    sure = next((row for row in judged if _is_sure(row)), None)
    unpruned = [row for row in rows if row.method != "full"] or rows
    advised = sure or by_name.get(DEFAULT_BASELINE) or unpruned[0]
    costs = [_save(advised), _lose(advised, by_name)]
    if not judged:
        return Verdict([*costs, _not_judged(scored, by_name)], [])
    best = sure or judged[0]
    margin = best.metric.margin if margin is None else margin
    unsure = [_unsure(row) for row in judged if _wins(row) and not _wins(best)]
    left_out = [_left_out(row) for row in scored if row not in judged]
    which = _judged(best, judged, margin)
    simple = next((row for row in rows if _needs_no_score(row) and _is_sure(row)), None)
    if sure is not None and simple is not None:
        which = dataclasses.replace(which, sentences=f"{which.sentences} {_without_score(simple)}")
    return Verdict([*costs, which], [*unsure, *_overfit(best, judged), *left_out])


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Return the methods that score before the others, and the best first among either.

    The best has the largest gain over the baseline on the seeds that both have. A mean over all seeds of a method
    also depends on which seeds it has. Methods with few seeds come after methods with more, up to as many as an
    interval needs.

    Args:
        rows: With differences to the default baseline.
    """

    def gain(row: Row) -> float:
        if row.method == DEFAULT_BASELINE:
            return 0.0
        return row.metric.better * row.score.mean if row.gain is None else row.gain.mean

    return sorted(rows, key=lambda row: (not is_scored(row.method), -_num_counted(row), -gain(row)))


def is_scored(method: str) -> bool:
    """Return whether a method, with its options, ranks samples by what a model makes of them.

    Example:
        >>> is_scored("emp:pool=2@equal"), is_scored("random-permutation@equal")
        (True, False)
    """
    name = method.partition("@")[0].partition(":")[0]  # what follows an @ is asked of the plans
    if name == DEFAULT_BASELINE:  # which ranks too, by visits alone
        return False
    try:
        return method_class(name).scores
    except ConfigError:  # one of somebody else's, which is not registered here
        return True


def _save(row: Row) -> Answer:
    """What a method costs of full training."""
    if row.method == "full":
        return Answer("Save", "nothing", "Only full was run.")
    visits, name = _percent(row.visits_fraction), _name(row)
    if row.relative_time is None:
        said = f"{name} has {visits} of the visits. Its share of full's time is not known."
        return Answer("Save", f"{_percent(1 - row.visits_fraction)} of the visits", said)
    saved = f"{_percent(1 - row.relative_time)} of the time" if row.relative_time < 1 else "no time"
    return Answer(
        "Save",
        saved,
        f"{name} takes {_percent(row.relative_time)} of full's training time, for {visits} of its visits."
        + " Each was timed once." * (row.score.num_seeds == 1),
    )


def _lose(row: Row, by_name: Mapping[str, Row]) -> Answer:
    """What a method's paired difference to full training allows to say, and what is lost without it."""
    gap, name = row.to_full, _name(row)
    if row.method == "full":
        return Answer("Lose", "nothing", "Only full was run.")
    if gap is None:
        why = f"{name} shares no seed with full." if "full" in by_name else "full was not run with these settings."
        return Answer("Lose", "not known", why)
    if gap.num_seeds == 1:
        said = f"{name} shares one seed with full, so there is no interval."
    elif math.isnan(gap.half_width):
        said = f"{name} against full, as much on each of {gap.num_seeds} seeds, so there is no interval."
    else:
        unclear = "" if gap.excludes_zero else ", which is no clear difference"
        said = f"{name} against full, paired over {gap.num_seeds} seeds{unclear}."
    baseline = by_name.get(DEFAULT_BASELINE, row)
    if baseline is not row and baseline.to_full is not None:
        said += f" {_name(baseline)} is {_beside(baseline.to_full, row.metric)} it."
    return Answer("Lose", f"{_beside(gap, row.metric)} full", said)


def _not_judged(scored: Sequence[Row], by_name: Mapping[str, Row]) -> Answer:
    """Why nothing says whether a score is worth having."""
    if DEFAULT_BASELINE not in by_name:
        why = f"{capital(BASELINE_NAME)} was not run. It shows what is reached without a score."
    elif not scored:
        why = f"No method that scores was run beside {BASELINE_NAME}."
    else:
        why = f"No method that scores shares a seed with {BASELINE_NAME}. Run the same seeds of both."
    return Answer("Which", "not known", why)


def _judged(best: Row, judged: Sequence[Row], margin: float) -> Answer:
    """What the paired difference to the baseline allows to say of the best method that scores, or of the surest.

    Where the best has a wide interval, another may be above the baseline beyond doubt, after adjusting for all (Holm).
    """
    gap, who, metric = best.difference, best.method, best.metric
    assert gap is not None
    if best is not judged[0]:
        who += ", the best whose gain is sure when adjusted for all (Holm),"
    elif len(judged) > 1:
        who += f", the best of {len(judged)} that score,"
    few = f", as far as {gap.num_seeds} seeds can tell" if gap.num_seeds < FEWEST_SEEDS else ""
    if _is_sure(best):
        said = f"The score is worth having{few}. {who} is {_beside(gap, metric)} {BASELINE_NAME}."
        return Answer("Which", best.method, said)
    if gap.excludes_zero and not _wins(best):
        said = f"{capital(BASELINE_NAME)} is better{few}. {who} is {_beside(gap, metric)} it."
        return Answer("Which", BASELINE_NAME, said)
    if gap.is_inside(margin):
        said = f"{capital(BASELINE_NAME)} is enough{few}. {who} differs by {_signed(gap, metric)}, inside ±{margin:g}."
        return Answer("Which", BASELINE_NAME, said)
    said = f"{who} differs from {BASELINE_NAME} by {_signed(gap, metric)}. {_what_would(best, gap, margin)}"
    return Answer("Which", f"{capital(_count(gap.num_seeds))} cannot tell", said)


def _what_would(best: Row, gap: Estimate, margin: float) -> str:
    """Why a difference decides nothing, and how many seeds give an interval that does, wherever in it the mean is."""
    if gap.num_seeds == 1:
        return f"Run {FEWEST_SEEDS} seeds."
    if math.isnan(gap.half_width):
        return "It is as much on every seed: without any spread there is no interval."
    if _wins(best):
        return f"Adjusted for their number (Holm), p is {best.p_holm:.2f}."
    needed = margin / 2  # a wider interval may hold both zero and the margin, and decides nothing
    return f"About {_rounded(max(FEWEST_SEEDS, seeds_for(gap, needed)))} seeds would narrow that to ±{needed:g}."


def _needs_no_score(row: Row) -> bool:
    """Whether a method at the baseline's cost chooses without a score, as class-balanced sampling does."""
    return row.method not in ("full", DEFAULT_BASELINE) and not is_scored(row.method)


def _without_score(row: Row) -> str:
    assert row.difference is not None
    return f"{row.method} needs no score, and is {_beside(row.difference, row.metric)} {BASELINE_NAME} too."


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
        said = f"It is not shown to fit held-out data better ({held_out})."
    elif fit.held_out.mean < 0:
        hidden = "" if wins else f", which its {best.metric.name} does not show"
        said = f"It fits held-out data better too ({held_out}){hidden}."
    else:
        said = f"It fits held-out data worse ({held_out}): it overfits."
    return [f"By the loss {method} fits the training data better than {BASELINE_NAME} ({fit.train:+.3f} nats). {said}"]


def _unsure(row: Row) -> str:
    """Name a method with an interval above zero, where the best method's interval is not."""
    assert row.difference is not None
    holm = f"Adjusted for their number (Holm), p is {row.p_holm:.2f}"
    return f"{row.method} is {_beside(row.difference, row.metric)} {BASELINE_NAME}, but one of several. {holm}."


def _left_out(row: Row) -> str:
    shared = "no seed" if row.difference is None else f"only {_count(row.difference.num_seeds)}"
    return f"{row.method} shares {shared} with {BASELINE_NAME}, fewer than others. The verdict leaves it out."


def _beside(gap: Estimate, metric: Metric) -> str:
    size = format(dataclasses.replace(gap, mean=abs(gap.mean)), f".{metric.digits}f").replace(" (all equal)", "")
    return f"{size} {metric.points} {'above' if gap.mean > 0 else 'below'}"


def _signed(gap: Estimate, metric: Metric) -> str:
    size = format(gap, f"+.{metric.digits}f").replace("-", "−").replace(" (all equal)", "")
    return f"{size} {metric.points}"


def _wins(row: Row) -> bool:
    """Whether a method is better than the baseline beyond doubt, by itself."""
    return row.gain is not None and row.gain.excludes_zero and row.gain.mean > 0


def _is_sure(row: Row) -> bool:
    """Whether a method is better than the baseline when adjusted for all that were compared (Holm)."""
    return _wins(row) and row.p_holm < SURE


def _num_counted(row: Row) -> int:
    """How many seeds compare a method with the baseline, counted up to `FEWEST_SEEDS`: more do not matter."""
    said = row.score if row.method == DEFAULT_BASELINE else row.difference
    return 0 if said is None else min(said.num_seeds, FEWEST_SEEDS)


def _name(row: Row) -> str:
    """A method, where a sentence begins."""
    return capital(BASELINE_NAME) if row.method == DEFAULT_BASELINE else row.method


def _count(num_seeds: int) -> str:
    return "one seed" if num_seeds == 1 else f"{num_seeds} seeds"


def _rounded(number: int) -> str:
    """A number that is known only about, with two digits."""
    return f"{int(float(f'{number:.2g}')):,}" if number > 99 else str(number)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
