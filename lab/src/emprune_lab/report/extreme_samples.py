"""The samples that a method visits most and least, to be looked at: wrong labels and doubtful cases show there."""

import base64
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from emprune.errors import EmpruneError
from emprune_lab.comparison.rows import summarise
from emprune_lab.data.blocks import Decoded
from emprune_lab.data.splits import Split, Texts
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.sections import CostGroup
from emprune_lab.report.verdict import best_first, is_scored
from emprune_lab.run import splits_of
from emprune_lab.tasks import BlockTask, get_task
from emprune_lab.training.samples import shortened

__all__ = [
    "MOST_METHODS",
    "ExtremeSamples",
    "Sample",
    "TrainingData",
    "extreme_samples",
    "load_training_data",
    "shown_sample",
    "training_data_of",
]

MOST_METHODS = 4
MOST_PIXELS = 96
NOT_SHOWN = ("index", "label", "visits", "predicted", "right", "recorded", "first_learnt")
"""What the card has already, and what has no mean over seeds: classes, yes and no, epochs with -1 for never."""


@dataclass(frozen=True)
class TrainingData:
    """What the runs of a group trained on.

    Args:
        split: The samples and the labels they were given.
        true: (N,) the labels before some were made wrong; None where none were.
        classes: The names of the classes by label, where they have any.
        seed: The seed of the run that these samples are from, where each has its own; None where all have the same.
    """

    split: Split[Any]
    true: Tensor | None
    classes: Sequence[str] | None
    seed: int | None

    @cached_property
    def brightest(self) -> int:
        """The highest value of a pixel; 0 where there are no images."""
        return int(self.split.x.max()) if isinstance(self.split.x, Tensor) else 0


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
class ExtremeSamples:
    """The samples that a method visited most, and least."""

    method: str
    most: Sequence[Sample]
    least: Sequence[Sample]


def load_training_data(group: CostGroup, data_dir: Path | None) -> TrainingData | str:
    """Return what the group's runs trained on, without fetching anything; a sentence where that cannot be had."""
    run = next((run for run in group.runs if run.visits is not None), None)
    if run is None:
        return "No run recorded its visits (visits.npy or samples.parquet in its folder)."
    return training_data_of(run, data_dir)


def training_data_of(run: ReportedRun, data_dir: Path | None) -> TrainingData | str:
    """Return what a run trained on, without fetching anything; a sentence where that cannot be had."""
    try:
        settings, task = run.result.settings, get_task(run.result.settings.task)
        if task.data is not None and not task.data.folder(data_dir).exists():
            return f"The data are not on this machine: `emprune data {task.name}`, then make the report again."
        if settings.data.files not in (None, task.files):
            return "The data have changed since the run, so its samples are not shown."
        noise = settings.data.label_noise
        true = splits_of(settings.replace(label_noise=0.0), task, data_dir).train.y if noise else None
        splits = splits_of(settings, task, data_dir)
        train = splits.train
        if isinstance(task, BlockTask):
            assert task.data is not None, "its documents are fetched"
            train = dataclasses.replace(train, x=Texts(Decoded(task.data.folder(data_dir), train.x)))
    except (EmpruneError, OSError) as error:
        return f"The data cannot be loaded: {error}"
    num_visited = 0 if run.visits is None else len(run.visits)
    if len(splits.train) != num_visited:
        return f"The data here have {len(splits.train):,} training samples, the runs' had {num_visited:,}."
    return TrainingData(train, true, splits.classes, run.seed if run.draws_samples else None)


def extreme_samples(group: CostGroup, data: TrainingData, *, num_samples: int) -> list[ExtremeSamples]:
    """Return the most and the least visited samples of the methods that choose; at most of four, the best first."""
    pruned = [
        row.method for row in best_first(summarise(group.results, baseline=DEFAULT_BASELINE)) if row.method != "full"
    ]
    methods = [method for method in pruned if is_scored(method)] or pruned
    found = [_of_method(method, group.by_method[method], data, num_samples) for method in methods[:MOST_METHODS]]
    return [samples for samples in found if samples is not None]


def _of_method(method: str, runs: Sequence[ReportedRun], data: TrainingData, num_samples: int) -> ExtremeSamples | None:
    runs = [run for run in runs if data.seed in (None, run.seed)]
    recorded = [run.visits for run in runs if run.visits is not None and len(run.visits) == len(data.split)]
    if not recorded:
        return None
    visits = np.mean(recorded, axis=0)
    columns = _mean_columns(
        [run.samples for run in runs if run.samples is not None and len(run.samples) == len(visits)]
    )
    order = np.lexsort((columns.get("loss", visits), visits)).tolist()
    size = min(num_samples, len(order) // 2)

    def sample(index: int) -> Sample:
        known = {} if columns.empty else columns.loc[index].dropna().to_dict()
        return shown_sample(index, data, float(visits[index]), list(known.items()))

    return ExtremeSamples(method, [sample(i) for i in order[::-1][:size]], [sample(i) for i in order[:size]])


def _mean_columns(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What the runs recorded of each sample, in numbers, as means over the runs."""
    if not tables:
        return pd.DataFrame()
    means = pd.concat(tables).groupby(level=0).mean(numeric_only=True)
    return means.drop(columns=list(NOT_SHOWN), errors="ignore").astype(float)


def shown_sample(index: int, data: TrainingData, visits: float, values: Sequence[tuple[str, float]]) -> Sample:
    """Return the training sample at a position as it is shown, with its visits and what else is known of it."""
    split, label = data.split, int(data.split.y[index])
    true = None if data.true is None else int(data.true[index])
    picture = text = None
    if isinstance(split.x, Tensor):
        picture = _png(split.x[index], data.brightest)
    else:
        both = [split.x.first[index], *([] if split.x.second is None else [split.x.second[index]])]
        text = " | ".join(map(shortened, both))
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
