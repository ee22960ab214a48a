"""The report itself: what its page shows of the runs, section by section."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emprune.errors import ConfigError
from emprune_lab.commands.tables import comparison_cells, method_notes, notes
from emprune_lab.comparison.rows import scored_part
from emprune_lab.files import refuse_foreign, write_whole
from emprune_lab.pages.drawing import Figure, Styles, colours
from emprune_lab.pages.rendering import render_page
from emprune_lab.report.classes import class_figures, worst_cells
from emprune_lab.report.figures import against_cost, against_time, by_epoch, visit_figures
from emprune_lab.report.galleries import MOST_METHODS, Gallery, Training, galleries, load_training
from emprune_lab.report.provenance import commands, facts, sample_files
from emprune_lab.report.records import Found
from emprune_lab.report.sections import Group, Section, divide_runs
from emprune_lab.report.verdict import Reading, read_rows
from emprune_lab.settings import RunConfig

__all__ = ["write_report"]

MOST_SAMPLES, ALL_SAMPLES = 12, 300
"""Shown of a method at either end, and on the page: pictures must not make it large."""


@dataclass(frozen=True)
class GroupView:
    """A group as the template shows it."""

    group: Group
    reading: Reading
    part: str
    cells: Sequence[Sequence[str]]
    remarks: Sequence[str]
    visits: Sequence[Figure]
    epochs: Sequence[Figure]
    classes: Sequence[Figure]
    worst: Sequence[Sequence[str]]
    galleries: Sequence[Gallery]
    names: Mapping[int, str]
    no_galleries: str


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
    refuse_foreign(out / "report.html")
    sections = divide_runs(found.runs, found.experiments, baseline=baseline)
    page = _page(sections, found, out, data_dir)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    write_whole(path, lambda file: file.write(page.encode(errors="replace")))
    return path


def _page(sections: Sequence[Section], found: Found, out: Path, data_dir: Path | None) -> str:
    styles = colours(run.method for section in sections for run in section.runs)
    num_groups = sum(len(section.groups) for section in sections)
    size = max(3, min(MOST_SAMPLES, ALL_SAMPLES // (2 * MOST_METHODS * num_groups)))
    views = [
        {
            "section": section,
            "methods": list(dict.fromkeys(run.method for run in section.runs)),
            "figures": [against_cost(section, styles), against_time(section, styles)],
            "groups": [_group_view(group, styles, size, data_dir) for group in section.groups],
            "facts": facts(section),
            "commands": commands(section),
            "files": sample_files(section, out),
        }
        for section in sections
    ]
    damaged = [str(file) for section in sections for run in section.runs for file in run.damaged]
    return render_page("emprune_lab.report", styles=styles, views=views, found=found, damaged=damaged)


def _group_view(group: Group, styles: Styles, num_samples: int, data_dir: Path | None) -> GroupView:
    training = load_training(group, data_dir)
    shown = galleries(group, training, num_samples=num_samples) if isinstance(training, Training) else []
    names = {**_names(training), **group.class_names}
    probed = any("knn_accuracy" in result for result in group.results)
    return GroupView(
        group=group,
        reading=read_rows(group.rival_rows, probed=probed),
        part=scored_part(group.results),
        cells=comparison_cells(group.rows, margin=group.margin),
        remarks=_remarks(group),
        visits=visit_figures(group, styles),
        epochs=by_epoch(group, styles),
        classes=class_figures(group, styles, _labels(training), names),
        worst=worst_cells(group, names),
        galleries=shown,
        names=names,
        no_galleries=training if isinstance(training, str) else "Only full was run, which visits all samples alike.",
    )


def _names(training: Training | str) -> dict[int, str]:
    return {} if isinstance(training, str) else dict(enumerate(map(str, training.classes or ())))


def _labels(training: Training | str) -> NDArray[np.int64] | None:
    if isinstance(training, str) or training.seed is not None:
        return None
    labels: NDArray[np.int64] = training.split.y.numpy()
    return labels


def _remarks(group: Group) -> list[str]:
    said = notes(group.rows, group.results, baseline=group.baseline, margin=group.margin)
    try:
        configs = [RunConfig.from_json(result["config"]) for result in group.results]
    except ConfigError:  # of a task or a method that is not here
        return said
    return said + method_notes(configs)
