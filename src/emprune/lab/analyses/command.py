"""`emprune analyze NAME`: a command for each analysis, which makes the runs it takes and writes what they say."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from emprune.lab.analyses import ANALYSES, Analysis
from emprune.lab.analyses.runs import Run
from emprune.lab.command import (
    failures_reported,
    prepared_queue,
    refuse_torchrun,
    warn_of_precisions,
    watch_comparison,
)
from emprune.lab.consoles import out, progress
from emprune.lab.experiment import DEFAULT_BASELINE
from emprune.lab.options import DataDir, takes_settings

__all__ = ["analyze"]

analyze = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Answer a question with runs of several methods and seeds, at equal cost, in numbers and pictures.

    Each analysis makes the runs it takes, and ends in a table, NAME.json and
    NAME.html, which opens without a network. What is finished stays: after
    Ctrl-C or a crash, or for more runs, give the command again.

    The first five are the figures of the EMP paper and its Theorem 1; the
    others say what models remember of a sample because they saw it.
    """,
)


def _command(analysis: Analysis) -> Callable[..., None]:
    """Return the command of an analysis; its help is the docstring of the class."""

    def command(
        task: Annotated[str, typer.Argument(metavar="TASK", help="On what; `emprune tasks` lists them.")],
        settings: dict[str, Any],
        out_dir: Annotated[
            Path,
            typer.Option(
                "--out", help=f"Folder of all the runs, and of {analysis.name}.json and {analysis.name}.html."
            ),
        ],
        methods: Annotated[
            str, typer.Option(help="Separated by commas, with options as in emp:beta=3:pool=2.")
        ] = analysis.methods,
        runs: Annotated[
            int, typer.Option(help="Runs per method, of seeds 0, 1, ...; those of one seed are paired.")
        ] = analysis.num_runs,
        baseline: Annotated[str, typer.Option(help="What differences are taken to.")] = DEFAULT_BASELINE,
        jobs: Annotated[int, typer.Option(help="Runs at a time, in processes of one thread each.")] = 2,
        data_dir: DataDir = None,
    ) -> None:
        with failures_reported():
            refuse_torchrun(f"analyze {analysis.name}")
            experiment = analysis.experiment(
                task,
                methods=[method for method in methods.split(",") if method.strip()],
                num_runs=runs,
                baseline=baseline,
                settings=settings,
            )
            queue = prepared_queue(experiment, out=out_dir, num_jobs=jobs, data_dir=data_dir, console=progress)
            warn_of_precisions(queue, progress)
            comparison = watch_comparison(experiment, queue, num_jobs=jobs, console=progress)
            comparison.write(out_dir, prefix=f"{analysis.name}-")
            finished = [Run(job, lambda line: progress.print(line, soft_wrap=True)) for job in queue.jobs]
            conclusion = analysis.conclude(experiment, finished)
            out.print(conclusion.table)
            for remark in conclusion.remarks:
                out.print(remark, highlight=False)
            for path in analysis.write(experiment, conclusion, out_dir):
                out.print(f"{path}", highlight=False, soft_wrap=True)

    command.__doc__ = inspect.getdoc(analysis)
    return takes_settings(command, unless_given=analysis.settings)


for _analysis in ANALYSES.values():
    analyze.command(_analysis.name)(_command(_analysis))
