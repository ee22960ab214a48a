"""The samples that a method visits most and least, to be looked at: wrong labels and doubtful cases show there."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from emprune.errors import EmpruneError
from emprune_lab.comparison.statistics import mean_band
from emprune_lab.comparison.workers import load_splits
from emprune_lab.report.records import Run
from emprune_lab.report.sections import Group
from emprune_lab.report.verdict import best_first, is_scored
from emprune_lab.results.samples import shortened
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import Split, data_of

__all__ = ["MOST_METHODS", "Gallery", "Sample", "Training", "galleries", "load_training"]

MOST_METHODS = 4
MOST_PIXELS = 96
NOT_SHOWN = ("index", "label", "visits")


@dataclass(frozen=True)
class Training:
    """What the runs of a group trained on.

    Args:
        split: The samples and the labels they were given.
        true: (N,) the labels before some were made wrong; None where none were.
        classes: The names of the classes by label, where they have any.
        seed: Of the run whose samples these are, where each seed has its own; None where all have the same.
    """

    split: Split[Any]
    true: Tensor | None
    classes: Sequence[str] | None
    seed: int | None


@dataclass(frozen=True)
class Sample:
    """A training sample, as it is shown: a picture as a data URI and where its file is, if it has one, or a text."""

    index: int
    picture: str | None
    text: str | None
    path: str | None
    label: int
    true: int | None
    visits: float
    values: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Gallery:
    """The samples that a method visited most, and least."""

    method: str
    most: Sequence[Sample]
    least: Sequence[Sample]


def load_training(group: Group, data_dir: Path | None) -> Training | str:
    """Return what the group's runs trained on, without fetching anything; a sentence where that cannot be had."""
    known = ((run, run.visits) for run in group.runs)
    run, visits = next((pair for pair in known if pair[1] is not None), (None, None))
    if run is None or visits is None:
        return "No run recorded its visits (visits.npy or samples.parquet in its folder)."
    try:
        config = RunConfig.from_json(run.result["config"])
        data = data_of(config.task)
        if data is not None and not data.folder(data_dir).exists():
            return f"The data are not on this machine: `emprune data {config.task}`, then make the report again."
        true = load_splits(config.replace(label_noise=0.0), data_dir).train.y if config.label_noise else None
        splits = load_splits(config, data_dir)
    except (EmpruneError, OSError) as error:
        return f"The data cannot be loaded: {error}"
    if len(splits.train) != len(visits):
        return f"The data here have {len(splits.train):,} training samples, the runs' had {len(visits):,}."
    return Training(splits.train, true, splits.classes, run.seed if run.draws_samples else None)


def galleries(group: Group, training: Training, *, num_samples: int) -> list[Gallery]:
    """Return the most and the least visited samples of the methods that choose; at most of four, the best first."""
    pruned = [row.method for row in best_first(group.rival_rows) if row.method != "full"]
    methods = [method for method in pruned if is_scored(method)] or pruned
    found = [_gallery(method, group.by_method[method], training, num_samples) for method in methods[:MOST_METHODS]]
    return [gallery for gallery in found if gallery is not None]


def _gallery(method: str, runs: Sequence[Run], training: Training, num_samples: int) -> Gallery | None:
    runs = [run for run in runs if run.visits is not None and training.seed in (None, run.seed)]
    runs = [run for run in runs if len(_visits(run)) == len(training.split)]
    if not runs:
        return None
    visits = _mean([_visits(run).astype(np.float64) for run in runs])
    names = [name for name in (runs[0].samples.column_names if runs[0].samples else []) if name not in NOT_SHOWN]
    columns = {name: [c for c in (run.column(name) for run in runs) if c is not None] for name in names}
    values = {name: _mean(found) for name, found in columns.items() if found}
    order = np.lexsort((values.get("loss", visits), visits)).tolist()
    size = min(num_samples, len(order) // 2)
    brightest = None if not isinstance(training.split.x, Tensor) else int(training.split.x.max())

    def sample(index: int) -> Sample:
        known = [(name, float(column[index])) for name, column in values.items() if not np.isnan(column[index])]
        return _sample(index, training, brightest, float(visits[index]), known)

    return Gallery(method, [sample(i) for i in order[::-1][:size]], [sample(i) for i in order[:size]])


def _visits(run: Run) -> NDArray[np.int64]:
    assert run.visits is not None
    return run.visits


def _mean(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return mean_band(np.stack(columns))[0]


def _sample(
    index: int, training: Training, brightest: int | None, visits: float, values: Sequence[tuple[str, float]]
) -> Sample:
    split = training.split
    label = int(split.y[index])
    true = None if training.true is None else int(training.true[index])
    picture = text = None
    if brightest is None:
        both = [split.x.first[index], *([] if split.x.second is None else [split.x.second[index]])]
        text = " | ".join(map(shortened, both))
    else:
        picture = _png(split.x[index], brightest)
    path = None if split.paths is None else split.paths[index]
    return Sample(index, picture, text, path, label, None if true == label else true, visits, values)


def _png(x: Tensor, brightest: int) -> str:
    """An image (C, H, W) uint8 as a data URI; where a data set's brightest pixel is not white, it becomes so."""
    pixels = (x.permute(1, 2, 0).cpu().numpy().astype(np.float32) * (255 / max(1, brightest))).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
