"""The work behind `emprune analyze NAME`: make the runs, conclude, print and write."""

from pathlib import Path
from typing import Any

from emprune_lab.analyses.finished_run import Run
from emprune_lab.analyses.registry import ANALYSES
from emprune_lab.commands.comparing import prepared_queue, warn_of_precisions, watch_comparison
from emprune_lab.commands.consoles import out, progress
from emprune_lab.commands.running import refuse_torchrun
from emprune_lab.files import refuse_foreign

__all__ = ["answer"]


def answer(
    name: str,
    task: str,
    *,
    methods: str,
    num_runs: int,
    baseline: str,
    settings: dict[str, Any],
    out_dir: Path,
    num_jobs: int,
    data_dir: Path | None,
) -> None:
    """Make the runs of the analysis `name` that are missing, and print and write what all of them say."""
    refuse_torchrun(f"analyze {name}")
    analysis = ANALYSES[name]
    named = [method for method in methods.split(",") if method.strip()]
    experiment = analysis.experiment(task, methods=named, num_runs=num_runs, baseline=baseline, settings=settings)
    queue = prepared_queue(experiment, out=out_dir, num_jobs=num_jobs, data_dir=data_dir, console=progress)
    refuse_foreign(*(out_dir / f"{name}{end}" for end in (".json", ".html", "-results.json", "-table.md")))
    warn_of_precisions(queue, progress)
    comparison = watch_comparison(experiment, queue, num_jobs=num_jobs, console=progress)
    comparison.write(out_dir, prefix=f"{name}-")
    finished = [Run(job, lambda line: progress.print(line, soft_wrap=True)) for job in queue.jobs]
    conclusion = analysis.conclude(experiment, finished)
    out.print(conclusion.table)
    for remark in conclusion.remarks:
        out.print(remark, highlight=False)
    for path in analysis.write(experiment, conclusion, out_dir):
        out.print(f"{path}", highlight=False, soft_wrap=True)
