"""The `emprune` command in full: run, compare, data, methods, tasks."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import emprune
from emprune.lab.command import failures_reported, open_run, run_to_end, watch_comparison
from emprune.lab.config import RunConfig
from emprune.lab.specs import method_options, usable_as_text
from emprune.lab.tables import comparison_table, run_table
from emprune.lab.tasks import DATA_SETS, TASKS, get_task

__all__ = ["app"]

PIPE_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
progress = Console(stderr=True)

DEFAULT_METHODS = "full,random,random-permutation,infobatch,ucb,epsilon-greedy,greedy,emp"

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="What to train on; `emprune tasks` lists them.")]
Methods = Annotated[str, typer.Option(help="Separated by commas, with options as in emp:beta=3:pool=2.")]
Keep = Annotated[
    float | None,
    typer.Option(
        help="Mean fraction of the training data visited per epoch, in (0, 1]. Pruning 70 % is 0.3.", show_default="0.3"
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Length of the run.", show_default="the task's")]
Warmup = Annotated[float, typer.Option(help="Share of the visits spent on full-data epochs at the start.")]
Tail = Annotated[
    float | None,
    typer.Option(help="Share of the visits spent on full-data epochs at the end.", show_default="the method's"),
]
TrainSize = Annotated[
    int | None,
    typer.Option(help="Use a class-balanced subset of the training data, the same for every seed.", show_default="all"),
]
Validation = Annotated[
    float, typer.Option(help="Split off this share of the training data and score it after every epoch.")
]
Model = Annotated[str | None, typer.Option(help="Another model.", show_default="the task's")]
BatchSize = Annotated[int | None, typer.Option(help="Samples per optimizer step.", show_default="the task's")]
MaxLr = Annotated[float | None, typer.Option(help="Peak of the one-cycle learning rate.", show_default="the task's")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16; auto is bf16 where the hardware computes it.")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Train through torch.compile: faster from the second minute on; on a CPU it needs a C++ compiler.",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where data sets are cached.", show_default="the user's cache folder")
]


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

    emprune compare digits --methods full,random,greedy,emp:pool=2 --seeds 3 --out runs/digits

    `emprune methods` explains what there is to compare, `emprune tasks` on what.
    """


@app.command()
def run(
    task: TaskName,
    out_dir: Annotated[Path, typer.Option("--out", help="The run's folder.")],
    method: Annotated[str, typer.Option(help="A method, with options as in emp:beta=3:pool=2.")] = "emp",
    keep: Keep = None,
    epochs: Epochs = None,
    seed: Annotated[int, typer.Option(help="Runs of one seed start from the same weights.")] = 0,
    warmup_fraction: Warmup = 0.0,
    tail_fraction: Tail = None,
    train_size: TrainSize = None,
    validation: Validation = 0.0,
    model: Model = None,
    batch_size: BatchSize = None,
    max_lr: MaxLr = None,
    device: Device = "auto",
    precision: Precision = "auto",
    compile_model: Compile = False,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    data_dir: DataDir = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what is in the folder.")] = False,
) -> None:
    """Train once.

    The folder gets config.json, log.jsonl (a line per epoch), result.json,
    visits.npy (how often each sample was visited) and checkpoint.pt.
    Ctrl-C stops after the current batch; --resume goes on from there, exactly.

    The test set is scored after a quarter, half, three quarters and all of
    the epochs; the result is the last, not the best. With --validation a part
    of the training data is scored after every epoch.

    [bold]Example[/bold]

    emprune run fashion-mnist --train-size 10000 --method emp:pool=2 --out runs/emp
    """
    with failures_reported():
        config = RunConfig.for_task(
            task, method, keep=keep, epochs=epochs, seed=seed, warmup_fraction=warmup_fraction,
            tail_fraction=tail_fraction, train_size=train_size, validation=validation, model=model,
            batch_size=batch_size, max_lr=max_lr, device=device, precision=precision, threads=threads,
            compile=compile_model,
        )  # fmt: skip
        folder = open_run(out_dir, config, data_dir=data_dir, resume=resume, overwrite=overwrite, console=progress)
        if folder.finished:
            progress.print(f"{out_dir} holds this run, finished; --overwrite runs it anew.", soft_wrap=True)
        else:
            run_to_end(config, folder, data_dir=data_dir, console=progress)
        out.print(run_table(folder.result()))


@app.command()
def compare(
    task: TaskName,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of all the runs, results.json and table.md.")],
    methods: Methods = DEFAULT_METHODS,
    keep: Keep = None,
    seeds: Annotated[int, typer.Option(help="Runs per method, seeds 0, 1, ...")] = 5,
    jobs: Annotated[int, typer.Option(help="Runs at a time, in processes of one thread each.")] = 2,
    baseline: Annotated[str, typer.Option(help="What differences are taken to.")] = "random-permutation",
    epochs: Epochs = None,
    warmup_fraction: Warmup = 0.0,
    tail_fraction: Tail = None,
    train_size: TrainSize = None,
    validation: Validation = 0.0,
    model: Model = None,
    batch_size: BatchSize = None,
    max_lr: MaxLr = None,
    device: Device = "auto",
    precision: Precision = "auto",
    compile_model: Compile = False,
    data_dir: DataDir = None,
) -> None:
    """Train with several methods and seeds at equal cost, and print one table.

    Finished runs are not run again, unfinished ones go on from their checkpoints:
    after Ctrl-C or a crash, or with more methods, give the command again.
    `full` always keeps everything.

    [bold]Example[/bold]

    emprune compare digits --methods full,random,greedy,emp,emp:pool=2 --out runs/digits
    """
    with failures_reported():
        settings: dict[str, Any] = {
            "keep": keep, "epochs": epochs, "warmup_fraction": warmup_fraction, "tail_fraction": tail_fraction,
            "train_size": train_size, "validation": validation, "model": model, "batch_size": batch_size,
            "max_lr": max_lr, "device": device, "precision": precision, "compile": compile_model,
        }  # fmt: skip
        result = watch_comparison(
            task, [method for method in methods.split(",") if method.strip()], settings, out=out_dir,
            num_seeds=seeds, num_jobs=jobs, baseline=baseline, data_dir=data_dir, console=progress,
        )  # fmt: skip
        out.print(comparison_table(result.rows, title=f"{task}, {out_dir}"))
        for note in result.notes:
            out.print(note, highlight=False)


@app.command()
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A task's data.")],
    data_dir: DataDir = None,
) -> None:
    """Fetch a task's data into the cache and verify it. What is there already is verified, not fetched again."""
    with failures_reported():
        get_task(name)
        if name not in DATA_SETS:
            out.print(f"{name} comes with its package; there is nothing to fetch.")
            return
        folder = DATA_SETS[name].ensure(data_dir, say=lambda line: progress.print(line, soft_wrap=True))
        out.print(f"{name} is in {folder}, verified.", soft_wrap=True)


@app.command()
def methods() -> None:
    """Explain the methods and their options."""
    table = Table(title="Methods (options as in emp:beta=3:pool=2)")
    for head in ("method", "what it visits", "options and defaults"):
        table.add_column(head)
    for name in emprune.method_names():
        options = [f"{option}={value.default}" for option, value in method_options(name).items()]
        if not usable_as_text(name):
            options = ["only from code"]
        summary = (emprune.method_class(name).__doc__ or "").strip().splitlines()[0]
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
        table.add_row(
            task.name, task.description, recipe.model, str(recipe.epochs), str(recipe.batch_size), str(recipe.max_lr)
        )
    out.print(table)
