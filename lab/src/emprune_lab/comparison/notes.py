"""What a reader of a comparison must know, in sentences: of its table, of its methods, of runs that hardly train."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from emprune.methods import EMP, InfoBatch, method_class
from emprune.methods.emp import TWO_CLASS_BETA
from emprune_lab.comparison.rows import Row, compared_by, place, scored_part, unequal_cost
from emprune_lab.comparison.statistics import FEWEST_SEEDS, mean_interval
from emprune_lab.errors import some
from emprune_lab.method_spec import MethodSpec
from emprune_lab.metrics import capital
from emprune_lab.results.record import RunRecord
from emprune_lab.run import Run
from emprune_lab.tasks import Task

__all__ = ["little_notes", "method_notes", "notes", "own_data_notes", "unlike_places", "unlike_precision"]

STAR_AND_P = ", * where its interval excludes zero; p: of that difference, adjusted for the number of rows (Holm)"
"""What stands in a table where there are intervals."""


def notes(
    rows: Sequence[Row], results: Sequence[RunRecord], *, baseline: str, margin: float | None = None
) -> list[str]:
    """Return what a reader of the table must know."""
    estimates = [e for row in rows for e in (row.score, row.difference, row.to_full) if e is not None]
    spread = not all(math.isnan(estimate.half_width) for estimate in estimates)
    if any(row.method == baseline for row in rows):
        differences = f"difference: to {baseline}, paired by seed" + STAR_AND_P * spread
    else:
        differences = f"no differences, because {baseline} is not among the methods"
    metric = compared_by(rows)
    lower = "" if metric.higher_is_better else ", lower is better"
    counted = f"{capital(metric.heading.removesuffix(' %'))} on the {scored_part(results)} after the last epoch{lower}"
    remarks = [f"{counted}{', mean ± 95 % interval (Student t)' * spread}; {differences}."]
    if any("knn_accuracy" in result for result in results):
        remarks.append(f"Accuracy is that of a linear probe of the frozen encoder. {_neighbours(rows, results)}")
    if margin is not None:
        where = "above −" if metric.higher_is_better else "below "
        remarks.append(
            f"Non-inferior: the whole interval of the difference lies {where}{margin:g} {metric.points} "
            "(2.5 % one-sided)."
        )
    fewest = min((estimate.num_seeds for estimate in estimates), default=0)
    if fewest < FEWEST_SEEDS:
        remarks.append(f"Only {fewest} seed{'s' * (fewest != 1)}, fewer than {FEWEST_SEEDS}: read it as a first look.")
    shared = [(row.method, row.difference.num_seeds, row.score.num_seeds) for row in rows if row.difference is not None]
    fewer = [f"{method} {common} of {own}" for method, common, own in shared if common < own]
    if fewer:
        remarks.append(f"Differences are over the seeds that {baseline} has too: {', '.join(fewer)}.")
    if any(math.isnan(e.half_width) and e.num_seeds > 1 for e in estimates):
        remarks.append("All equal: the same on every seed, so that there is no spread to make an interval of.")
    remarks += unlike_places(results)
    remarks += unlike_precision(r["machine"]["precision"] for r in results)
    unequal = unequal_cost(results)
    return remarks if unequal is None else [*remarks, unequal]


def _neighbours(rows: Sequence[Row], results: Sequence[RunRecord]) -> str:
    """The accuracy of the nearest neighbours, a method at a time."""
    values = {row.method: [r["knn_accuracy"] for r in results if r.method == row.method] for row in rows}
    return f"Nearest neighbours: {', '.join(f'{m} {mean_interval(v):.2f}' for m, v in values.items())}."


def unlike_places(results: Iterable[RunRecord]) -> list[str]:
    """Say of runs that their times do not compare, if they are not all from one device in one precision."""
    where = sorted({place(result) for result in results})
    return [f"Computed in different places, so times do not compare: {', '.join(where)}."] if len(where) > 1 else []


def unlike_precision(precisions: Iterable[str]) -> list[str]:
    """Say of runs that they are not all of one precision, if they are not: `auto` is another on another machine."""
    counted = sorted(Counter(precisions).items())
    if len(counted) < 2:
        return []
    how = " and ".join(f"{number} in {precision}" for precision, number in counted)
    return [f"Of the runs {how}: what differs in precision may differ by it. To avoid it set `precision`."]


def method_notes(task: Task, methods: Iterable[tuple[MethodSpec, float]]) -> list[str]:
    """Say which methods rank by the loss alone because there are two classes, and which prefer nothing, if any do.

    Args:
        task: What they are run on.
        methods: The methods, each with its keep.
    """
    same, uniform = dict[str, None](), dict[str, None]()
    for spec, keep in methods:
        method = spec.make()
        if isinstance(method, EMP) and task.objective == "classification" and method.ranks_by_loss(task.num_classes):
            same[str(spec)] = None
        if isinstance(method, InfoBatch) and method.prefers_nothing(keep):
            uniform[str(spec)] = None
    found = {
        f"On two classes EMP with a beta below {TWO_CLASS_BETA} ranks exactly as the loss alone does": same,
        "At a keep this low InfoBatch prefers nothing: it keeps a uniform part of all samples, as random does": uniform,
    }
    return [f"{what}: {', '.join(sorted(methods))}." for what, methods in found.items() if methods]


def own_data_notes(run: Run) -> list[str]:
    """Say what was read of the user's own files; nothing where the task's name says what the data are."""
    if run.task.files is None:
        return []
    sizes = {"training": run.sizes.train, "validation": run.sizes.validation, "testing": run.sizes.test}
    parts = ", ".join(f"{number:,} for {part}" for part, number in sizes.items() if number)
    said = f"Your {run.task.kind}: {parts}. {run.task.num_classes:,} classes: {some(run.task.classes)}."
    return [said, *run.task.remarks]


def little_notes(run: Run) -> list[str]:
    """Say it where a run keeps less than a batch in an epoch, or where its scores choose nothing."""
    cost, visits, batch = run.settings.cost, run.sizes.visits, run.sizes.batch
    method = run.settings.method
    if visits / cost.epochs < batch and method.name != "full":
        what = f"{visits / cost.epochs:.3g} samples an epoch, less than a batch of {batch:,}, and {visits:,} visits"
        return [f"keep={cost.keep:g} leaves {what} in all. Raise `keep` or `epochs`, or lower `batch_size`."]
    cls = method_class(method.name)
    if not (cls.scores and cls.needs_losses) or run.settings.training.initial is not None or chooses(run):
        return []
    beyond = "Samples that were never seen come first, and no pruned epoch gets beyond them"
    advice = "Raise `keep` or `epochs`, or give `warmup_epochs` or `initial`"
    return [f"{method} chooses nothing by its scores here. {beyond}. {advice}."]


def chooses(run: Run) -> bool:
    """Whether a pruned epoch has more samples than were never seen before it."""
    sizes = run.sizes
    seen_or_planned = accumulate(sizes.per_epoch)
    return any(size < sizes.train < total for size, total in zip(sizes.per_epoch, seen_or_planned, strict=True))
