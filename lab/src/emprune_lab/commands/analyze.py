"""`emprune analyze NAME`: a command for each analysis, which makes the runs it takes and writes what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from emprune_lab.analyses.questions import QUESTIONS, Question
from emprune_lab.commands.options import DataDir, path_option, takes_settings
from emprune_lab.method_spec import DEFAULT_BASELINE, listed_methods

__all__ = ["analyze"]

analyze = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Answer a question with runs of several methods and seeds, at equal cost, in numbers and pictures.

    Each analysis makes the runs that it needs. It ends in a table, NAME.json
    and NAME.html, which opens without a network. What is finished stays: after
    Ctrl-C or a crash, or for more runs, give the command again.

    The first says how much can be left out. The next five are the figures of
    the EMP paper and its Theorem 1. The others say what models remember of a
    sample because they saw it.
    """,
)


def _command(question: Question) -> Callable[..., None]:
    """Return the command of an analysis."""

    def command(
        task: Annotated[str, typer.Argument(metavar="TASK", help="What to train on; `emprune tasks` lists them.")],
        settings: dict[str, Any],
        out_dir: Annotated[
            Path,
            path_option("--out", help=f"Folder of all the runs, and of {question.name}.json and {question.name}.html."),
        ],
        methods: Annotated[
            str,
            typer.Option(
                help="Separated by commas, with options as in emp:beta=3:pool=2.",
                show_default=question.methods.replace(",", ", "),
            ),
        ] = question.methods,
        runs: Annotated[
            int, typer.Option(help="Runs per method, of seeds 0, 1, ...; those of one seed are paired.")
        ] = question.num_runs,
        baseline: Annotated[str, typer.Option(help="What differences are taken to.")] = DEFAULT_BASELINE,
        jobs: Annotated[int, typer.Option(help="Runs at a time, in processes of one thread each.")] = 2,
        data_dir: DataDir = None,
    ) -> None:
        from emprune_lab.commands.running import failures_reported

        with failures_reported():
            named = listed_methods(methods)
            asked: dict[str, Any] = {"methods": named, "num_runs": runs, "baseline": baseline, "settings": settings}
            _answer(question.name, task, asked, out_dir=out_dir, num_jobs=jobs, data_dir=data_dir)

    command.__doc__ = question.text
    varied = [name for name, value in question.settings.items() if isinstance(value, list)]
    return takes_settings(command, unless_given=question.settings, varied=varied)


for _question in QUESTIONS.values():
    analyze.command(_question.name)(_command(_question))


def _answer(
    name: str, task: str, asked: dict[str, Any], *, out_dir: Path, num_jobs: int, data_dir: Path | None
) -> None:
    """Make the runs of the analysis `name` that are missing, and print and write what all of them say."""
    from emprune_lab.analyses.finished_run import FinishedRun
    from emprune_lab.analyses.registry import ANALYSES
    from emprune_lab.commands.compare import prepared_queue, warn_of_precisions, watch_comparison
    from emprune_lab.commands.consoles import out, progress
    from emprune_lab.commands.fitting import fitted
    from emprune_lab.commands.running import refuse_torchrun
    from emprune_lab.files import refuse_foreign

    refuse_torchrun(f"analyze {name}")
    analysis = ANALYSES[name]
    experiment = analysis.experiment(task, **asked)
    queue = prepared_queue(experiment, out=out_dir, num_jobs=num_jobs, data_dir=data_dir, console=progress)
    refuse_foreign(*(out_dir / f"{name}{end}" for end in (".json", ".html", "-results.json", "-table.md")))
    warn_of_precisions(queue, progress)
    comparison = watch_comparison(queue, num_jobs=num_jobs, console=progress)
    comparison.write(out_dir, prefix=f"{name}-")
    finished = [
        FinishedRun(job.run, job.folder, lambda line: progress.print(line, soft_wrap=True)) for job in queue.jobs
    ]
    conclusion = analysis.conclude(experiment, finished)
    out.print(fitted(conclusion.table, width=out.width, instead=f"{name}.html has all"))
    for remark in conclusion.remarks:
        out.print(remark, highlight=False)
    for path in analysis.write(experiment, conclusion, out_dir):
        out.print(f"{path}", highlight=False, soft_wrap=True)
