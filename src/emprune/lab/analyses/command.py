"""`emprune analyze`: the runs of a comparison, on random subsets, and what they remember of what they saw."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emprune.lab.analyses import ANALYSES, get_analysis
from emprune.lab.analyses.findings import find
from emprune.lab.command import failures_reported, prepared_queue, watch_comparison
from emprune.lab.consoles import out, progress
from emprune.lab.experiment import DEFAULT_BASELINE
from emprune.lab.options import DataDir

__all__ = ["analyze"]

DEFAULT_METHODS = "full,random-permutation,greedy,emp"
DEFAULT_FRACTION = 0.7


def analyze(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"What: {' or '.join(ANALYSES)}.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="On what; `emprune tasks` lists them.")],
    settings: dict[str, Any],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of all the runs, and of NAME.json and NAME.html.")],
    methods: Annotated[
        str, typer.Option(help="Separated by commas, with options as in emp:beta=3:pool=2.")
    ] = DEFAULT_METHODS,
    runs: Annotated[
        int, typer.Option(help="Runs per method, each on a random subset; methods share the subsets.")
    ] = 10,
    baseline: Annotated[str, typer.Option(help="What differences are taken to.")] = DEFAULT_BASELINE,
    jobs: Annotated[int, typer.Option(help="Runs at a time, in processes of one thread each.")] = 2,
    data_dir: DataDir = None,
) -> None:
    """Say what models remember of a sample because they saw it, by method: at equal cost, but for full.

    memorization, for classification (Feldman & Zhang 2020): how often runs
    that had a sample in their training subset name its class, minus how often
    the others do. alignment-gap, for contrastive pre-training (SSLMem, Wang
    et al. 2024): how much closer a sample's views lie for runs that had it.

    Runs train on 70 % of the data unless --subset-fraction says otherwise.
    What is finished stays: after Ctrl-C or a crash, give the command again.

    [bold]Example[/bold]

    emprune analyze memorization digits --label-noise 0.1 --runs 8 --out runs/memory
    """
    with failures_reported():
        analysis = get_analysis(name)
        experiment = analysis.experiment(
            task,
            methods=[method for method in methods.split(",") if method.strip()],
            num_runs=runs,
            baseline=baseline,
            settings={"subset_fraction": DEFAULT_FRACTION, **settings},
        )
        queue = prepared_queue(experiment, out=out_dir, sources=[], data_dir=data_dir, console=progress)
        watch_comparison(experiment, queue, out=out_dir, num_jobs=jobs, console=progress)
        findings = find(
            analysis, experiment, queue, data_dir=data_dir, say=lambda line: progress.print(line, soft_wrap=True)
        )
        out.print(findings.table())
        for path in findings.write(out_dir):
            out.print(f"{path}", highlight=False, soft_wrap=True)
