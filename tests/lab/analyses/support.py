"""Analyses of runs small enough for tests, made in this process: a new one costs seconds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from emprune_lab.analyses.analysis import Conclusion
from emprune_lab.analyses.finished_run import FinishedRun
from emprune_lab.analyses.registry import ANALYSES
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.queue import Queue, make_queue
from emprune_lab.method_spec import DEFAULT_BASELINE
from numpy.typing import NDArray

from tests.lab.reports import result_of
from tests.lab.runs import run_of, run_small, settings_for

SMALL: dict[str, Any] = {"epochs": 2, "train_size": 80, "batch_size": 16, "device": "cpu", "precision": "fp32"}


def experiment_of(
    name: str, task: str = "digits", *, methods: Sequence[str] = ("random",), num_runs: int = 2, **settings: Any
) -> Experiment:
    return ANALYSES[name].experiment(
        task, methods=methods, num_runs=num_runs, baseline=DEFAULT_BASELINE, settings={**SMALL, **settings}
    )


def runs_of(experiment: Experiment, out: Path) -> list[FinishedRun]:
    """Make the runs that are missing."""
    return [FinishedRun(job.run, job.folder) for job in made(experiment, out).jobs]


def made(experiment: Experiment, out: Path) -> Queue:
    queue = make_queue(experiment, out)
    for job in queue.missing:
        run_small(job.run.settings, job.folder)
    return queue


def concluded(name: str, out: Path, *, task: str = "digits", **options: Any) -> Conclusion:
    experiment = experiment_of(name, task, **options)
    return ANALYSES[name].conclude(experiment, runs_of(experiment, out))


def pretended(
    folder: Path,
    *,
    method: str = "random",
    seed: int = 0,
    visits: Sequence[int] | None = None,
    probe_losses: dict[int, float] | None = None,
    **settings: Any,
) -> FinishedRun:
    """Return a run that has left no more than is given."""
    run = FinishedRun(run_of(settings_for("digits", method, seed=seed, **{**SMALL, **settings})), folder)
    leave(run, visits=visits, probe_losses=probe_losses)
    return run


def leave(
    run: FinishedRun,
    *,
    visits: Sequence[int] | None = None,
    probe_losses: dict[int, float] | None = None,
    measured: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write what a run could have left, and what could have been measured on it."""
    folder = run.folder
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result_of(run.settings)))
    if visits is not None:
        np.save(folder / "visits.npy", np.array(visits, dtype=np.int32))
    if probe_losses is not None:
        records = [
            {"epoch": epoch, **({"probe_loss": probe_losses[epoch]} if epoch in probe_losses else {})}
            for epoch in range(max(probe_losses, default=0) + 1)
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for name, values in (measured or {}).items():
        np.save(folder / f"{name}.npy", values)
