"""Print the rows of "Does it help?": shorter ordinary training, EMP and full training.

python experiments/study/helps.py
python experiments/study/helps.py --write lab/src/emprune_lab/report/elsewhere.json    # for `emprune estimate`
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from emprune_lab.comparison.statistics import mean_interval, paired_difference
from evidence import outcome, read_runs

EXPERIMENTS = Path(__file__).parents[1]
BASELINE, EMP, FULL = "random-permutation", ("emp:pool=2", "emp:beta=5:pool=2"), "full"


@dataclass(frozen=True)
class Row:
    """A task, and where its runs are; each method has its own tail and peak, as tuned beforehand."""

    task: str
    kind: str
    """Of its samples."""
    where: str
    """A pattern of results.json, or the runs of the GPU."""
    shown: float | None = None
    """The keep in the table."""

    def runs(self) -> Iterator[tuple[Mapping[str, Any], float]]:
        """Yield each run's settings, and what it ended with."""
        for path in sorted(EXPERIMENTS.glob(self.where)):
            on_gpu = path.name == "runs.json"
            for run in json.loads(path.read_text()) if on_gpu else read_runs(path):
                yield {**run, **run["settings"]} if on_gpu else run["config"], outcome(run)

    def measured(self) -> Iterator[dict[str, Any]]:
        """Yield what each keep has reached that both methods have, with EMP's difference paired by seed."""
        found: dict[tuple[str, float], dict[int, float]] = defaultdict(dict)
        for config, score in self.runs():
            method = "emp" if config["method"] in EMP else config["method"]
            keep = 1.0 if method == FULL else config["keep"]
            found[method, keep][config["seed"]] = score
            epochs = config["epochs"]
        full = mean_interval([*found[FULL, 1.0].values()]).mean
        for keep in sorted({keep for method, keep in found if method == "emp"}):
            emp, shorter = found["emp", keep], found[BASELINE, keep]
            gain = paired_difference(emp, shorter)
            if gain is None:
                continue
            points = {
                "shorter": mean_interval([*shorter.values()]).mean,
                "emp": mean_interval([*emp.values()]).mean,
                "full": full,
                "gain": gain.mean,
                "gain_half_width": gain.half_width,
            }
            rounded = {name: round(value, 4) for name, value in points.items()}
            about = {"task": self.task, "kind": self.kind, "epochs": epochs, "keep": keep, "seeds": gain.num_seeds}
            yield {**about, **rounded}

    def line(self) -> str:
        """Return the row of the table."""
        (at,) = [found for found in self.measured() if found["keep"] == self.shown]
        cells = [f"{at[name]:.1f}" for name in ("shorter", "emp", "full")]
        gap = f"{at['gain']:+.1f} ± {at['gain_half_width']:.1f}"
        return f"| {self.task} | {100 * at['keep']:.0f} % | {' | '.join(cells)} | {gap} | {at['seeds']} |"


ROWS = (
    Row("CIFAR-10, 20,000 images, small ResNet", "images", "study/judge-cifar10-20k*/results.json", 0.3),
    Row("Fashion-MNIST, all 60,000, small ResNet", "images", "frontier/fashion-mnist-*/results.json", 0.3),
    Row("CLINC150, 1,500 questions, MiniLM", "texts", "study/judge-clinc150*/results.json", 0.3),
    Row("CIFAR-100, all 50,000, ResNet-18 on a GPU", "images", "gpu-cifar100/runs.json", 0.3),
    Row("Fashion-MNIST, 10,000 images, small ResNet", "images", "timed-fashion-mnist/results.json"),
    Row("CIFAR-100, 20,000 images, small ResNet", "images", "study/judge-cifar100*/results.json"),
    Row("CoLA, 2,850 sentences, MiniLM", "texts", "study/judge-cola*/results.json"),
)


def main(
    write: Annotated[Path | None, typer.Option(help="A file for what `emprune estimate` says.")] = None,
) -> None:
    """Print the table."""
    if write is not None:
        found = [at for row in ROWS for at in row.measured()]
        write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    typer.echo("| task | budget | shorter | EMP | full | EMP − shorter | seeds |")
    typer.echo("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in ROWS:
        if row.shown is not None:
            typer.echo(row.line())


if __name__ == "__main__":
    typer.run(main)
