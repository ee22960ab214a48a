"""The `emprune` command in full: run, compare, report, estimate, analyze, data, methods, tasks."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

import emprune
from emprune.errors import ConfigError
from emprune.lab.analyses.command import analyze
from emprune.lab.command import (
    failures_reported,
    foresee,
    prepared_queue,
    refuse_torchrun,
    run_once,
    seconds_left,
    taken_over,
    warn_of_precisions,
    watch_comparison,
    what_is_left,
)
from emprune.lab.config import RunConfig
from emprune.lab.consoles import out, progress
from emprune.lab.data import find_data_set
from emprune.lab.experiment import DEFAULT_BASELINE, DEFAULT_SEEDS, Experiment, parse_seeds
from emprune.lab.options import DataDir, refuse_settings, takes_settings
from emprune.lab.report.command import report, report_comparison
from emprune.lab.specs import method_options, usable_as_text
from emprune.lab.tables import comparison_table, forecast_table, long_duration, queue_table, run_table
from emprune.lab.tasks import TASKS, Recipe, get_task
from emprune.lab.tasks.image_folder import PREFIX as IMAGE_FOLDER
from emprune.lab.tasks.text.glue import TASKS as GLUE_TASKS

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
DEFAULT_METHODS = "full,random,random-permutation,infobatch,ucb,epsilon-greedy,greedy,emp"

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="What to train on; `emprune tasks` lists them.")]
MethodName = Annotated[str, typer.Option(help="A method, with options as in emp:beta=3:pool=2.")]


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"emprune {emprune.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def command(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Train on a chosen part of the data in each epoch, at an exact cost, and see what that saves and loses.

    [bold]Start here[/bold]

    emprune run digits --method emp --keep 0.3 --out runs/first

    emprune compare digits --methods full,random,greedy,emp --seeds 3 --out runs/digits

    `emprune methods` explains what there is to compare, `emprune tasks` on what.
    """


@app.command()
@takes_settings
def run(
    task: TaskName,
    settings: dict[str, Any],
    out_dir: Annotated[Path, typer.Option("--out", help="The run's folder.")],
    method: MethodName = "emp",
    seed: Annotated[int, typer.Option(help="Runs of one seed start from the same weights.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    data_dir: DataDir = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what is in the folder.")] = False,
) -> None:
    """Train once.

    The folder gets config.json, log.jsonl (a line per epoch), result.json,
    visits.npy (how often each sample was visited), samples.parquet (its loss
    and score too), checkpoint.pt, and the checkpoint before it.
    Ctrl-C stops after the current batch; --resume goes on from there, exactly.

    The test set is scored after a quarter, half, three quarters and all of
    the epochs; the result is the last, not the best. With --validation it is
    scored at the end alone, and a part of the training data up to 20 times.

    Under torchrun the processes share the run: each trains on its part of every
    batch, on a GPU of its own where there are any. --resume may use fewer or more.

    [bold]Examples[/bold]

    emprune run fashion-mnist --train-size 10000 --method emp --out runs/emp

    emprune run movie-reviews --model minilm-2 --method emp:beta=5 --out runs/reviews

    torchrun --nproc-per-node 2 -m emprune run digits --out runs/two
    """
    with failures_reported():
        config = RunConfig.for_task(task, method, seed=seed, threads=threads, **settings)
        result = run_once(out_dir, config, data_dir=data_dir, resume=resume, overwrite=overwrite, console=progress)
        out.print(run_table(result))


@app.command()
@takes_settings
def compare(
    settings: dict[str, Any],
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="What to train on, unless --experiment says it.")
    ] = None,
    experiment_file: Annotated[
        Path | None,
        typer.Option("--experiment", help="A TOML file: task, methods, seeds and settings; a list is varied."),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of all the runs, results.json, table.md and report.html.",
            show_default="runs/<task or file>",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Separated by commas, with options as in emp:beta=3:pool=2.", show_default=DEFAULT_METHODS),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Runs per method: 5 is seeds 0 to 4; 5-9 those seeds.", show_default="5")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What differences are taken to.", show_default=DEFAULT_BASELINE)
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Say what is non-inferior to the baseline: at most so many points below it.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time, in processes of one thread each.")] = 2,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Take over finished runs: another folder of runs, or a results.json. Repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and estimate the hours, and start none.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Train with several methods and seeds at equal cost, and print one table for each setting that is varied.

    Finished runs are not run again, unfinished ones go on from their checkpoints:
    after Ctrl-C or a crash, on another machine, or with more methods, give the
    command again. `full` always keeps everything.

    [bold]Examples[/bold]

    emprune compare digits --methods full,random,greedy,emp:pool=none,emp --out runs/digits

    emprune compare --experiment experiments/cifar10-20k.toml --dry-run
    """
    with failures_reported():
        refuse_torchrun("compare")
        given = {"methods": methods, "baseline": baseline, "margin": margin}
        experiment = _experiment(task, experiment_file, seeds, given, settings)
        where = out_dir or Path("runs") / (experiment_file.stem if experiment_file else get_task(experiment.task).slug)
        queue = prepared_queue(experiment, out=where, num_jobs=jobs, data_dir=data_dir, console=progress)
        queue = taken_over(queue, sources or [], out=where, dry_run=dry_run, console=progress)
        warn_of_precisions(queue, progress)
        if dry_run:
            lines = what_is_left(experiment, queue)
            out.print(queue_table(lines, title=f"{experiment.task}, {where}"))
            time = long_duration(seconds_left(queue, num_jobs=jobs, data_dir=data_dir))
            out.print(f"{len(queue.missing)} runs left, about {time} with --jobs {jobs} on this machine.")
            return
        result = watch_comparison(experiment, queue, num_jobs=jobs, console=progress)
        result.write(where)
        for group in result.groups:
            title = ", ".join(filter(None, (experiment.task, group.title, str(where))))
            out.print(comparison_table(group.rows, title=title, margin=experiment.margin))
            for remark in result.remarks(group):
                out.print(remark, highlight=False)
        report_comparison(experiment, queue, out_dir=where, data_dir=data_dir)


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
    with failures_reported():
        refuse_torchrun("estimate")
        config = RunConfig.for_task(task, method, threads=threads, **settings)
        foreseen = foresee(config, data_dir=data_dir, console=progress)
        out.print(forecast_table(config, foreseen))
        for warning in foreseen.warnings():
            out.print(warning, style="yellow")


def _experiment(
    task: str | None, file: Path | None, seeds: str | None, given: dict[str, Any], settings: dict[str, Any]
) -> Experiment:
    """Return what is to be compared: the file's experiment, or one made of the options."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        refuse_settings(
            {**({} if task is None else {"TASK": task}), **chosen, **settings},
            because=f"{file} says what is run, but for --seeds.",
        )
        experiment = Experiment.read(file)
        return experiment if seeds is None else dataclasses.replace(experiment, seeds=parse_seeds(seeds))
    if task is None:
        raise ConfigError("Name a TASK, or a file with --experiment. `emprune tasks` lists the tasks.")
    methods = [method for method in chosen.pop("methods", DEFAULT_METHODS).split(",") if method.strip()]
    numbers = parse_seeds(seeds or DEFAULT_SEEDS)
    return Experiment(task=task, methods=methods, seeds=numbers, settings=settings, **chosen)


app.command()(report)
app.add_typer(analyze, name="analyze")


@app.command()
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A task's data, or the model minilm.")],
    data_dir: DataDir = None,
) -> None:
    """Fetch a task's data, or a model, into the cache and verify it. What is there already is verified, not fetched."""
    with failures_reported():
        found = find_data_set(name)
        if found is None:
            whose = "is a folder of your own" if name.startswith(IMAGE_FOLDER) else "comes with its package"
            out.print(f"{name} {whose}; there is nothing to fetch.", soft_wrap=True)
            return
        folder = found.ensure(data_dir, say=lambda line: progress.print(line, soft_wrap=True))
        out.print(f"{name} is in {folder}, verified.", soft_wrap=True)


@app.command()
def methods() -> None:
    """Explain the methods and their options."""
    table = Table(title="Methods (options as in emp:beta=3:pool=2)")
    for head in ("method", "what it visits", "options and defaults"):
        table.add_column(head)
    for name in emprune.methods.method_names():
        options = [f"{option}={value.default}" for option, value in method_options(name).items()]
        if not usable_as_text(name):
            options = ["only from code"]
        summary = (emprune.methods.method_class(name).__doc__ or "").strip().splitlines()[0]
        table.add_row(name, summary, "\n".join(options) or "–")
    out.print(table)


@app.command()
def tasks() -> None:
    """Explain the tasks and what they are trained with by default."""
    table = Table(title="Tasks")
    for head in ("task", "data", "model", "epochs", "batch size", "peak learning rate"):
        table.add_column(head)
    for task in TASKS.values():
        recipe = task.recipe
        table.add_row(task.name, task.description, *_recipe_cells(recipe))
        for name, other in task.recipes.items():
            table.add_row("", Text(f"--recipe {name}", style="dim"), *_recipe_cells(other))
    glue_tasks = f"a task of GLUE: {', '.join(GLUE_TASKS)}"
    table.add_row("glue:TASK", glue_tasks, *_recipe_cells(get_task("glue:cola").recipe))
    table.add_row("image-folder:PATH", "your own images, PATH/train/CLASS/* or PATH/CLASS/*; [:size=64]", *[""] * 4)
    out.print(table)


def _recipe_cells(recipe: Recipe) -> list[str]:
    return [recipe.model, str(recipe.epochs), str(recipe.batch_size), f"{recipe.max_lr:g} ({recipe.optimizer})"]
