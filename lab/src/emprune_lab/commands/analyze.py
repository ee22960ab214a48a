"""`emprune analyze NAME`: a command for each analysis, which makes the runs it takes and writes what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from emprune_lab.analyses.questions import QUESTIONS, Question
from emprune_lab.commands.options import DEFAULT_BASELINE, DataDir, path_option, takes_settings

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


def _command(question: Question) -> Callable[..., None]:
    """Return the command of an analysis."""

    def command(
        task: Annotated[str, typer.Argument(metavar="TASK", help="On what; `emprune tasks` lists them.")],
        settings: dict[str, Any],
        out_dir: Annotated[
            Path,
            path_option("--out", help=f"Folder of all the runs, and of {question.name}.json and {question.name}.html."),
        ],
        methods: Annotated[
            str, typer.Option(help="Separated by commas, with options as in emp:beta=3:pool=2.")
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
            from emprune_lab.commands.answer import answer

            asked: dict[str, Any] = {"methods": methods, "num_runs": runs, "baseline": baseline, "settings": settings}
            answer(question.name, task, **asked, out_dir=out_dir, num_jobs=jobs, data_dir=data_dir)

    command.__doc__ = question.text
    return takes_settings(command, unless_given=question.settings)


for _question in QUESTIONS.values():
    analyze.command(_question.name)(_command(_question))
