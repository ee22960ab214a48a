"""Print the four rows of "Does it help?": shorter ordinary training, EMP and full training.

python experiments/study/helps.py
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from emprune_lab.comparison.statistics import mean_interval
from evidence import outcome, read_runs

EXPERIMENTS = Path(__file__).parents[1]
BASELINE, EMP, FULL = "random-permutation", "emp:pool=2", "full"
Outcome = tuple[str, int, float]
"""The method, the seed, the accuracy in per cent."""


@dataclass(frozen=True)
class Row:
    """A task at a cost, and where its runs are; each method has its own tail and peak, as tuned beforehand."""

    task: str
    keep: float
    where: str
    """A pattern of results.json, or the runs of the GPU."""

    def outcomes(self) -> Iterator[Outcome]:
        """Return what its runs ended with: at this cost, or of full training."""
        for path in sorted(EXPERIMENTS.glob(self.where)):
            on_gpu = path.name == "runs.json"
            for run in json.loads(path.read_text()) if on_gpu else read_runs(path):
                config = run if on_gpu else run["config"]
                if config["method"] == FULL or config["keep"] == self.keep:
                    yield config["method"], config["seed"], outcome(run)

    def line(self) -> str:
        """Return the row of the table, with EMP's difference paired by seed."""
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for method, seed, accuracy in self.outcomes():
            found[method][seed] = accuracy
        pairs = [accuracy - found[BASELINE][seed] for seed, accuracy in sorted(found[EMP].items())]
        cells = [f"{mean_interval([*found[method].values()]).mean:.1f}" for method in (BASELINE, EMP, FULL)]
        gap = f"{mean_interval(pairs):+.1f}"
        return f"| {self.task} | {100 * self.keep:.0f} % | {' | '.join(cells)} | {gap} | {len(pairs)} |"


ROWS = (
    Row("CIFAR-10, 20,000 images, small ResNet", 0.3, "study/judge-cifar10-20k*/results.json"),
    Row("Fashion-MNIST, 10,000 images, small ResNet", 0.1, "timed-fashion-mnist/results.json"),
    Row("CLINC150, 1,500 questions, MiniLM", 0.3, "study/judge-clinc150*/results.json"),
    Row("CIFAR-100, all 50,000, ResNet-18 on a GPU", 0.3, "gpu-cifar100/runs.json"),
)


def main() -> None:
    """Print the table."""
    typer.echo("| task | budget | shorter | EMP | full | EMP − shorter | seeds |")
    typer.echo("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in ROWS:
        typer.echo(row.line())


if __name__ == "__main__":
    typer.run(main)
