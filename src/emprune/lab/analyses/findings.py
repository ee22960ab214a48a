"""An analysis' runs, measured, put together, and written down: once measured, a run is not measured again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.table import Table

from emprune.lab.analyses.base import Analysis
from emprune.lab.analyses.gaps import Floats, Gaps, estimate
from emprune.lab.analyses.picture import distribution_page
from emprune.lab.compare import Queue
from emprune.lab.errors import RunError
from emprune.lab.experiment import Experiment
from emprune.lab.session import Session
from emprune.lab.statistics import Estimate, mean_interval, paired_difference
from emprune.lab.store import RunFolder, write_whole
from emprune.lab.tasks import drawn
from emprune.lab.workers import Job, load_splits

__all__ = ["Findings", "find"]

FORMAT = 1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Findings:
    """The gaps of each method, of runs that are paired by their subsets.

    Args:
        analysis: What was measured.
        experiment: On which runs.
        gaps: By method.
        divisor: What differences were divided by.
    """

    analysis: Analysis
    experiment: Experiment
    gaps: dict[str, Gaps]
    divisor: float

    def mean(self, method: str) -> Estimate:
        """Return the mean gap, with its interval over the runs."""
        return mean_interval(self.gaps[method].per_run.tolist())

    def difference(self, method: str) -> Estimate | None:
        """Return the mean gap minus the baseline's, paired by run; None for the baseline, or where it was not run."""
        baseline = self.experiment.baseline
        if method == baseline or baseline not in self.gaps:
            return None
        own, other = (dict(enumerate(self.gaps[m].per_run.tolist())) for m in (method, baseline))
        return paired_difference(own, other)

    def table(self) -> Table:
        """Return the distributions in numbers, for a terminal."""
        table = Table(title=self.analysis.quantity, box=box.SIMPLE_HEAD, pad_edge=False)
        heads = ["mean", "difference", *(f"{q:.0%}" for q in QUANTILES)]
        table.add_column("method", overflow="fold")
        for head in heads:
            table.add_column(head, justify="right")
        for method, gaps in self.gaps.items():
            difference = self.difference(method)
            cells = [_text(self.mean(method)), "–" if difference is None else _text(difference)]
            cells += [f"{value:.3f}" for value in _quantiles(gaps).values()]
            table.add_row(method, *cells)
        return table

    def document(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "format": FORMAT,
            "analysis": self.analysis.name,
            "quantity": self.analysis.quantity,
            "task": self.experiment.task,
            "baseline": self.experiment.baseline,
            "num_runs": len(self.experiment.seeds),
            "settings": dict(self.experiment.settings),
            "divided_by": self.divisor,
            "methods": {method: self._method(method) for method in self.gaps},
        }

    def write(self, out: Path) -> list[Path]:
        """Write OUT/<analysis>.json and .html, and return the two."""
        numbers, picture = (out / f"{self.analysis.name}.{kind}" for kind in ("json", "html"))
        text = json.dumps(self.document(), indent=1) + "\n"
        write_whole(numbers, lambda file: file.write(text.encode()))
        title = f"{self.experiment.task}: {len(self.experiment.seeds)} runs a method"
        page = distribution_page(
            {f"{method}, mean {self.mean(method).mean:.4f}": gaps.estimated for method, gaps in self.gaps.items()},
            quantity=self.analysis.quantity,
            title=title,
        )
        write_whole(picture, lambda file: file.write(page.encode()))
        return [numbers, picture]

    def _method(self, method: str) -> dict[str, Any]:
        gaps, mean, difference = self.gaps[method], self.mean(method), self.difference(method)
        return {
            "mean": mean.mean,
            "half_width": _number(mean.half_width),
            "difference": None if difference is None else difference.mean,
            "difference_half_width": None if difference is None else _number(difference.half_width),
            "per_run": gaps.per_run.tolist(),
            "quantiles": _quantiles(gaps),
            "num_estimated": len(gaps.estimated),
            "per_sample": [None if np.isnan(value) else round(value, 4) for value in gaps.per_sample.tolist()],
        }


def find(
    analysis: Analysis,
    experiment: Experiment,
    queue: Queue,
    *,
    data_dir: Path | None,
    say: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Measure the finished runs of a queue, those that are not measured yet, and compare.

    Raises:
        RunError: If a run left no checkpoint.
    """
    gaps = {}
    for method in dict.fromkeys(job.config.method for job in queue.jobs):
        jobs = [job for job in queue.jobs if job.config.method == method]
        values = np.stack([_measured(analysis, job, data_dir, say) for job in jobs])
        gaps[method] = estimate(values, np.stack([_seen(job, values.shape[1]) for job in jobs]))
    divisor = 1.0
    if analysis.by_range:
        everything = np.concatenate([gap.estimated for gap in gaps.values()])
        divisor = float(np.ptp(everything)) or 1.0
    return Findings(analysis, experiment, {m: gap.scaled(divisor) for m, gap in gaps.items()}, divisor)


def _measured(analysis: Analysis, job: Job, data_dir: Path | None, say: Callable[[str], None]) -> Floats:
    """(N,) of all training samples, those that the run did not see too; kept in the run's folder."""
    kept = job.folder / f"{analysis.name}.npy"
    if not kept.exists() or kept.stat().st_mtime < (job.folder / "result.json").stat().st_mtime:
        say(f"measuring {job.config.method}, seed {job.config.seed}")
        values = _measure(analysis, job, data_dir, say).cpu().numpy()
        write_whole(kept, lambda file: np.save(file, values))
    measured: Floats = np.load(kept).astype(np.float64)
    return measured


def _measure(analysis: Analysis, job: Job, data_dir: Path | None, say: Callable[[str], None]) -> torch.Tensor:
    torch.set_num_threads(job.config.threads)
    session = Session.build(job.config, load_splits(job.config, data_dir))
    state = RunFolder(job.folder).load_checkpoint(say=say)
    if state is None or state["tally"]["epoch"] < job.config.epochs:
        raise RunError(f"{job.folder} holds a result without its last checkpoint. Delete the folder to run it here.")
    session.load_state_dict(state["session"])
    everything = load_splits(job.config.replace(subset_fraction=1.0), data_dir).train
    return analysis.measure(session, everything.to(session.compute.device))


def _seen(job: Job, num_samples: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    seen = np.zeros(num_samples, dtype=bool)
    seen[drawn(num_samples, fraction=job.config.subset_fraction, seed=job.config.seed).numpy()] = True
    return seen


def _quantiles(gaps: Gaps) -> dict[str, float]:
    values = np.quantile(gaps.estimated, QUANTILES).tolist()
    return {f"{q:g}": value for q, value in zip(QUANTILES, values, strict=True)}


def _text(estimate: Estimate) -> str:
    spread = " (all equal)" if np.isnan(estimate.half_width) else f" ± {estimate.half_width:.4f}"
    return f"{estimate.mean:+.4f}{spread}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
