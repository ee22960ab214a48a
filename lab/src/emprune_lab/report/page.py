"""The report itself: what its page shows of the runs, section by section."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emprune.errors import EmpruneError
from emprune_lab.comparison.curves import NOTES, curves_table
from emprune_lab.comparison.notes import method_notes, notes
from emprune_lab.comparison.rows import scored_part
from emprune_lab.comparison.table import comparison_table
from emprune_lab.files import refuse_foreign, write_whole
from emprune_lab.pages.drawing import Styles, colours
from emprune_lab.pages.rendering import render_page
from emprune_lab.report.classes import class_figures, worst_classes
from emprune_lab.report.extreme_samples import MOST_METHODS, TrainingData, extreme_samples, load_training_data
from emprune_lab.report.figures import against_cost, against_time, by_epoch, recorded_visits
from emprune_lab.report.over_time import accuracy_over_time, time_to_target
from emprune_lab.report.provenance import commands, facts, sample_files
from emprune_lab.report.records import Found
from emprune_lab.report.sections import CostGroup, Section, divide_runs
from emprune_lab.tasks import get_task

__all__ = ["write_report"]

MOST_SAMPLES, ALL_SAMPLES = 12, 300
"""Shown of a method at either end, and on the page: pictures must not make it large."""


def write_report(found: Found, out: Path, *, baseline: str | None = None, data_dir: Path | None = None) -> Path:
    """Write OUT/report.html and return its path.

    Args:
        found: The runs.
        out: The folder to write into.
        baseline: What differences are taken to; None leaves it to the comparisons that the runs were made for.
        data_dir: Where data sets are cached, for the samples that are shown; None is the user's cache.

    Raises:
        ConfigError: If no run has the method that `baseline` names, or OUT/report.html is none of emprune's.
    """
    path = out / "report.html"
    refuse_foreign(path)
    sections = divide_runs(found.runs, baseline=baseline)
    page = _page(sections, found, out, data_dir)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(page.encode(errors="replace")))
    return path


def _page(sections: Sequence[Section], found: Found, out: Path, data_dir: Path | None) -> str:
    runs = [run for section in sections for run in section.runs]
    styles = colours(run.method for run in runs)
    num_groups = sum(len(section.groups) for section in sections)
    num_samples = max(3, min(MOST_SAMPLES, ALL_SAMPLES // (2 * MOST_METHODS * num_groups)))
    views = [
        {
            "section": section,
            "methods": list(dict.fromkeys(run.method for run in section.runs)),
            "picture": [against_time(section, styles)],
            "figures": [against_cost(section, styles)],
            "worth": None if section.curves is None else curves_table(section.curves),
            "worth_notes": NOTES,
            "groups": [_group_view(group, styles, num_samples, data_dir) for group in section.groups],
            "facts": facts(section),
            "commands": commands(section),
            "files": sample_files(section, out),
        }
        for section in sections
    ]
    damaged = [str(file) for run in runs for file in run.damaged]
    return render_page("emprune_lab.report", styles=styles, views=views, found=found, damaged=damaged)


def _group_view(group: CostGroup, styles: Styles, num_samples: int, data_dir: Path | None) -> dict[str, Any]:
    """A group as the template shows it."""
    data = load_training_data(group, data_dir)
    names, labels, samples = dict(group.class_names), None, []
    no_samples = "No run of a method that chooses recorded its visits."
    if group.by_method.keys() == {"full"}:
        no_samples = "Only full was run, which visits all samples alike."
    if isinstance(data, TrainingData):
        names = dict(enumerate(map(str, data.classes or ()))) | names
        labels = data.split.y.numpy() if data.seed is None else None
        samples = extreme_samples(group, data, num_samples=num_samples)
    else:
        no_samples = data
    return {
        "group": group,
        "unit": _unit(group),
        "part": scored_part(group.results),
        "table": comparison_table(group.rows, margin=group.margin, title=f"Comparison, {group.title}"),
        "remarks": _remarks(group),
        "progress": [accuracy_over_time(group, styles)],
        "reached": time_to_target(group),
        "visits": recorded_visits(group, styles),
        "epochs": by_epoch(group, styles),
        "classes": class_figures(group, styles, labels, names),
        "worst": worst_classes(group, names),
        "samples": samples,
        "names": names,
        "no_samples": no_samples,
    }


def _unit(group: CostGroup) -> str:
    """What points are of."""
    metric = group.rows[0].metric
    if metric.points != "points":
        return metric.points
    if metric.name != "accuracy":
        return f"points of {metric.name}, 100 being perfect,"
    probed = any("knn_accuracy" in result for result in group.results)
    return "points of accuracy of a linear probe" if probed else "points of accuracy"


def _remarks(group: CostGroup) -> list[str]:
    said = notes(group.rows, group.results, baseline=group.baseline, margin=group.margin)
    settings = [result.settings for result in group.results]
    try:
        task = get_task(settings[0].task)
        return said + method_notes(task, [(one.method, one.cost.keep) for one in settings])
    except EmpruneError:  # of a task or a method that is not here, or of files that are damaged by now
        return said
