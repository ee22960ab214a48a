"""How much can be left out so that nothing is lost: the answer of a comparison at several keeps."""

from emprune_lab.comparison.curves import Curves
from emprune_lab.comparison.statistics import FEWEST_SEEDS
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.report.verdict import Answer

__all__ = ["enough"]


def enough(curves: Curves) -> Answer | None:
    """Return the keep from which on nothing is lost, and what the method is worth that needs the least.

    Returns:
        The answer; None where no method shares its seeds with full training.
    """
    if not curves.methods:
        return None
    lowest = {method: curves.loses_nothing_from(method) for method in curves.methods}
    best = min(lowest, key=lambda method: lowest[method].keep)
    others = [f"{method} from {curves.enough_from(method)}" for method in lowest if method != best]
    said = f"{best} loses at most {curves.margin:g} {curves.metric.points} from keep {curves.enough_from(best)} on"
    largest = max(curves.keeps)
    beyond = [f"No keep above {largest:g} was run."] if lowest[best].keep > largest else []
    few = ["The seeds are few, so the intervals are too narrow."] if lowest[best].num_seeds < FEWEST_SEEDS else []
    sentences = [f"{'; '.join([said, *others])}.", *beyond, *_worth(curves, best), *few]
    return Answer("Enough", f"keep {f'> {largest:g}' if beyond else lowest[best].short}", " ".join(sentences))


def _worth(curves: Curves, method: str) -> list[str]:
    """Say at which keeps random permutation reaches what a method reaches at its own."""
    found = {keep: curves.worth(method, keep) for keep in sorted(curves.scores[method])}
    told = {f"{keep:g}": worth.short for keep, worth in found.items() if worth is not None}
    if method == DEFAULT_BASELINE or not told:
        return []
    return [f"{method} at keep {', '.join(told)} reaches what {DEFAULT_BASELINE} does at {', '.join(told.values())}."]
