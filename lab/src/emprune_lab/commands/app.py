"""The `emprune` command in full: run, compare, report, suspects, export, estimate, analyze, data, methods, tasks."""

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

import emprune
from emprune_lab.commands.analyze import analyze
from emprune_lab.commands.arguments import (
    Baseline,
    Cluster,
    ComparedTask,
    ComparisonFolder,
    DryRun,
    ExperimentFile,
    Jobs,
    Launcher,
    Margin,
    MethodName,
    Methods,
    Seeds,
    Sources,
    TaskName,
    Track,
)
from emprune_lab.commands.completion import complete_method
from emprune_lab.commands.export import export
from emprune_lab.commands.options import NUMERIC, DataDir, path_option, takes_settings
from emprune_lab.commands.report import report
from emprune_lab.commands.suspects import suspects

__all__ = ["app"]

# What a command does is imported when it is called: torch and plotly take seconds, which no --help needs.

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"emprune {emprune.__version__}")
        raise typer.Exit


@app.callback()
def command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train on a chosen part of the data in each epoch, at an exact cost. See what that saves and loses.

    [bold]Start here[/bold]

    emprune run digits --method emp --keep 0.3

    emprune compare digits --methods full,random-permutation,emp --seeds 3

    `emprune methods` explains what there is to compare, `emprune tasks` on what.
    """


@app.command()
@takes_settings
def run(
    task: TaskName,
    settings: dict[str, Any],
    out_dir: Annotated[
        Path | None,
        path_option("--out", help="The run's folder.", show_default="where `compare` finds it, in runs/TASK"),
    ] = None,
    method: MethodName = "emp",
    seed: Annotated[int, typer.Option(help="Runs of one seed start from the same weights.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    track: Track = None,
    data_dir: DataDir = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what is in the folder.")] = False,
) -> None:
    """Train once.

    The folder gets config.json, log.jsonl (a line per epoch) and result.json.
    It gets visits.npy (how often each sample was visited) and samples.parquet
    (its loss and score too). A run goes on from checkpoints/.
    Ctrl-C stops after the current batch; --resume goes on from there, exactly.

    The test set is scored after a quarter, half, three quarters and all of
    the epochs. The result is the last, not the best. With --validation it is
    scored at the end alone, and a part of the training data up to 20 times.

    Under torchrun the processes share the run: each trains on its part of every
    batch. Each uses its own GPU where there are any. --resume may use fewer
    processes, or more.

    [bold]Examples[/bold]

    emprune run fashion-mnist --train-size 10000 --method emp

    emprune run movie-reviews --model minilm-2 --method emp:beta=5

    torchrun --nproc-per-node 2 -m emprune run digits --out runs/two
    """
    from emprune_lab.commands.consoles import out, progress
    from emprune_lab.commands.running import failures_reported, run_once
    from emprune_lab.commands.tables import run_table, what_next
    from emprune_lab.comparison.queue import folder_of
    from emprune_lab.run import make_settings
    from emprune_lab.tasks import get_task

    with failures_reported():
        chosen = get_task(task)
        asked = make_settings(chosen, method, seed=seed, threads=threads, **settings)
        where = out_dir or folder_of(Path("runs") / chosen.slug, chosen, asked)
        result = run_once(
            where,
            asked,
            chosen,
            data_dir=data_dir,
            resume=resume,
            overwrite=overwrite,
            console=progress,
            tracker=track,
        )
        out.print(run_table(result))
        for line in what_next(result, where, chosen):
            out.print(line, highlight=False, soft_wrap=True)


@app.command()
@functools.partial(takes_settings, varied=NUMERIC)
def compare(
    settings: dict[str, Any],
    task: ComparedTask = None,
    experiment_file: ExperimentFile = None,
    out_dir: ComparisonFolder = None,
    methods: Methods = None,
    seeds: Seeds = None,
    baseline: Baseline = None,
    margin: Margin = None,
    jobs: Jobs = 2,
    launcher: Launcher = "local",
    cluster: Cluster = None,
    sources: Sources = None,
    dry_run: DryRun = False,
    track: Track = None,
    data_dir: DataDir = None,
) -> None:
    """Train with several methods and seeds at equal cost, and print one table for each setting that is varied.

    Give the same command again after Ctrl-C or a crash, on another machine, or
    with more methods. Finished runs are not run again. Unfinished ones go on
    from their checkpoints. `full` always keeps everything.

    [bold]Examples[/bold]

    emprune compare digits --methods full,random-permutation,emp --keep 0.1,0.3

    emprune compare --experiment experiments/cifar10-20k.toml --dry-run
    """
    from emprune_lab.commands.running import failures_reported

    with failures_reported():
        from emprune_lab.commands.compare import make_comparison

        given = {"methods": methods, "seeds": seeds, "baseline": baseline, "margin": margin}
        chosen = {name: value for name, value in given.items() if value is not None}
        make_comparison(
            task,
            experiment_file,
            chosen,
            settings,
            out_dir=out_dir,
            sources=sources or [],
            num_jobs=jobs,
            dry_run=dry_run,
            data_dir=data_dir,
            tracker=track,
            launcher_name=launcher,
            cluster=cluster or [],
        )


@app.command()
@takes_settings
def estimate(
    task: TaskName,
    settings: dict[str, Any],
    method: MethodName = "emp",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """Time a few steps, and say what a run will cost and save in hours.

    [bold]Example[/bold]

    emprune estimate cifar10 --keep 0.3 --epochs 200 --model resnet18
    """
    from emprune_lab.commands.consoles import out, progress
    from emprune_lab.commands.fitting import fitted
    from emprune_lab.commands.running import failures_reported, foresee, refuse_torchrun
    from emprune_lab.commands.tables import comparison_command, forecast_table
    from emprune_lab.report.elsewhere import elsewhere_table
    from emprune_lab.run import make_settings
    from emprune_lab.tasks import get_task

    with failures_reported():
        refuse_torchrun("estimate")
        chosen = get_task(task)
        asked = make_settings(chosen, method, threads=threads, **settings)
        run, foreseen = foresee(asked, chosen, data_dir=data_dir, console=progress)
        out.print(forecast_table(run, foreseen, width=out.width))
        for warning in foreseen.warnings():
            out.print(warning, style="yellow")
        elsewhere = elsewhere_table(run)
        if elsewhere is not None:
            out.print(fitted(elsewhere, width=out.width))
            out.print("Shorter: ordinary training at that cost.")
            compared = comparison_command(asked, chosen)
            if compared is not None:
                out.print(f"What it costs here: {compared}", highlight=False, soft_wrap=True)


app.command()(report)
app.command()(suspects)
app.command()(export)
app.add_typer(analyze, name="analyze")


@app.command()
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A task's data, or the model minilm.")],
    data_dir: DataDir = None,
) -> None:
    """Fetch a task's data, or a model, into the cache and verify it. What is there already is verified, not fetched."""
    from emprune_lab.commands.running import failures_reported, fetch

    with failures_reported():
        fetch(name, data_dir)


@app.command()
def methods(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A method to explain in full.", autocompletion=complete_method),
    ] = None,
) -> None:
    """Explain the methods, or one method and its options."""
    from emprune_lab.commands.consoles import out
    from emprune_lab.commands.overview import method_page, methods_table
    from emprune_lab.commands.running import failures_reported

    with failures_reported():
        out.print(methods_table() if name is None else method_page(name))


@app.command()
def tasks() -> None:
    """Explain the tasks and what they are trained with by default."""
    from emprune_lab.commands.consoles import out
    from emprune_lab.commands.overview import tasks_table

    out.print(tasks_table())
