"""The arguments that commands share: their names, their help, and what the tab key offers for them."""

from pathlib import Path
from typing import Annotated

import typer

from emprune_lab.commands.completion import complete_launcher, complete_method, complete_task, complete_tracker
from emprune_lab.commands.options import path_option
from emprune_lab.method_spec import DEFAULT_BASELINE, DEFAULT_METHODS, DEFAULT_SEEDS

__all__ = [
    "Baseline",
    "Cluster",
    "ComparedTask",
    "ComparisonFolder",
    "DryRun",
    "ExperimentFile",
    "Jobs",
    "Launcher",
    "Margin",
    "MethodName",
    "Methods",
    "Seeds",
    "Sources",
    "TaskName",
    "Track",
]

TaskName = Annotated[
    str,
    typer.Argument(metavar="TASK", help="What to train on; `emprune tasks` lists them.", autocompletion=complete_task),
]
ComparedTask = Annotated[
    str | None,
    typer.Argument(
        metavar="[TASK]", help="What to train on, unless --experiment says it.", autocompletion=complete_task
    ),
]
ExperimentFile = Annotated[
    Path | None, path_option("--experiment", help="A TOML file: task, methods, seeds and settings; a list is varied.")
]
ComparisonFolder = Annotated[
    Path | None,
    path_option(
        "--out",
        help="Folder of all the runs, results.json, table.md and report.html.",
        show_default="runs/<task or file>",
    ),
]
MethodName = Annotated[
    str, typer.Option(help="A method, with options as in emp:beta=3:pool=2.", autocompletion=complete_method)
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="Separated by commas, with options as in emp:beta=3:pool=2; `all` is every method.",
        autocompletion=complete_method,
        show_default=DEFAULT_METHODS.replace(",", ", "),
    ),
]
Seeds = Annotated[
    str | None, typer.Option(help="Runs per method: 5 is seeds 0 to 4; 5-9 those seeds.", show_default=DEFAULT_SEEDS)
]
Baseline = Annotated[str | None, typer.Option(help="What differences are taken to.", show_default=DEFAULT_BASELINE)]
Margin = Annotated[
    float | None, typer.Option(help="Say what is non-inferior to the baseline: at most so many points worse.")
]
Jobs = Annotated[int, typer.Option(help="Runs at a time, in processes of one thread each.")]
Launcher = Annotated[
    str,
    typer.Option(
        help="What makes the runs: local, this machine; slurm, jobs of a cluster; submitit, as slurm but here.",
        autocompletion=complete_launcher,
        rich_help_panel="Machine",
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        help="Tell each epoch's numbers to a tracker too: tensorboard or wandb.",
        autocompletion=complete_tracker,
        rich_help_panel="Machine",
    ),
]
Sources = Annotated[
    list[Path] | None,
    path_option("--from", help="Take over finished runs: another folder of runs, or a results.json. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the runs and estimate the hours, and start none.")]
Cluster = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="For slurm: timeout_min=240, partition=gpu, gpus_per_node=1 and the like. Repeatable.",
        rich_help_panel="Machine",
    ),
]
