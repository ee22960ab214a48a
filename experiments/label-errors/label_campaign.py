"""Make the registered runs in their order, and write each down once it is finished. Given again, it goes on.

python experiments/label-errors/label_campaign.py --human FOLDER --work runs/label-errors
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from emprune_lab.compute import Compute
from emprune_lab.data.dividing import stratified_order
from emprune_lab.environment import machine, versions
from emprune_lab.errors import DataError
from label_measures import all_measured, cleanlab_scores, order_of, signals_of, suspicions
from label_sets import HUMAN_10, HUMAN_100, LABEL_SETS, MADE, RIGHT, LabelData, read
from label_training import RECIPES, Recipe, Trained, Trainer

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
SIGNAL_RUNS = {
    "emp": ("emp:pool=2", 0.3),
    "random-permutation": ("random-permutation", 0.3),
    "emp-gap": ("emp:pool=gap", 0.3),
    "full": ("full", 1.0),
}
NUM_FOLDS = 5
FOLD_RUNS = {"cleanlab": ("full", 1.0), "cleanlab-at-our-cost": ("random-permutation", 0.075)}
"""Five folds train on 4 times the data of one run. So keep 0.075 costs what one run at keep 0.3 does."""

WORTH = ("drop-suspects", "correct-suspects", "drop-random")
WORTH_OF = (*MADE, "cifar10:worse_label", *HUMAN_100)
CAMPAIGN = ("signals", "cleanlab", "worth")
"""Its stages. That of the guard is another registration, and is asked for by its name."""

GUARD_RUNS = {
    "random-permutation": ("random-permutation", None),
    "emp": ("emp:pool=2", None),
    "emp-guard": ("emp:pool=2", 3),
    "random-permutation-guard": ("random-permutation", 3),
}
GUARD_OF = (*(name for name in MADE if name.endswith(":0.4")), *HUMAN_10, *RIGHT)


@dataclass(frozen=True)
class Unit:
    """What one process does at a time: a stage of one label set and seed. It alone writes its file.

    Args:
        stage: One of `CAMPAIGN`, or "guard".
        label_set: One of `LABEL_SETS`.
        seed: The runs'.
    """

    stage: str
    label_set: str
    seed: int

    @property
    def path(self) -> Path:
        """The file of its results, under the folder of results."""
        return Path(self.label_set.replace(":", "-")) / f"{self.stage}-{self.seed}.json"

    @property
    def runs(self) -> Sequence[str]:
        """The names of its runs, in their order."""
        names = {"signals": SIGNAL_RUNS, "cleanlab": FOLD_RUNS, "worth": WORTH, "guard": GUARD_RUNS}
        return tuple(names[self.stage])


def registered(stages: Sequence[str] = CAMPAIGN, seeds: Sequence[int] = SEEDS) -> Iterator[Unit]:
    """Return all units in the registered order: by seed, the small label sets first."""
    large = (*HUMAN_10, *HUMAN_100)
    order = (("signals", MADE), ("cleanlab", MADE), ("signals", large), ("worth", MADE), ("cleanlab", large))
    for seed in seeds:
        for stage, names in (*order, ("worth", large)):
            if stage in stages:
                yield from (Unit(stage, name, seed) for name in names if stage != "worth" or name in WORTH_OF)
    if "guard" in stages:
        yield from (Unit("guard", name, seed) for seed in seeds for name in GUARD_OF)


class Worker:
    """Makes runs. The network of the task that it had last stays compiled.

    Args:
        results: The folder that is committed.
        work: The folder of what is not: the columns of runs that second trainings need.
        human: The folder of the human labels.
        data_dir: The lab's data folder.
        recipes: How each task is trained.
        compiled: Whether networks are compiled.
    """

    def __init__(
        self,
        results: Path,
        work: Path,
        human: Path,
        data_dir: Path | None = None,
        recipes: dict[str, Recipe] = RECIPES,
        *,
        compiled: bool = True,
        reader: Callable[..., LabelData] = read,
    ) -> None:
        self.results, self.work, self.recipes, self.compiled = results, work, recipes, compiled
        self._read = partial(reader, human=human, data_dir=data_dir)
        self._trainer: Trainer | None = None

    def do(self, unit: Unit) -> str:
        """Make the runs of a unit that are not there yet, and return what is to be said."""
        path = self.results / unit.path
        document = json.loads(path.read_text()) if path.is_file() else {"runs": {}}
        missing = [name for name in unit.runs if name not in document["runs"]]
        if not missing:
            return f"{unit.path}: there"
        try:
            trainer = self.trainer(unit)
        except (ValueError, DataError) as error:
            return f"{unit.path}: left out. {error}"
        for name in missing:
            made: dict[str, Any] = getattr(self, f"_{unit.stage}")(trainer, unit, name)
            document["runs"][name] = made
            document |= {"label_set": unit.label_set, "seed": unit.seed, "stage": unit.stage, **provenance()}
            document |= {"num_samples": len(trainer.data.x), "num_wrong": int(trainer.data.wrong.sum())}
            write(path, document)
        return f"{unit.path}: {', '.join(missing)}"

    def trainer(self, unit: Unit) -> Trainer:
        """Return the trainer of a unit's label set and seed."""
        task = unit.label_set.split(":")[0]
        data = self._read(unit.label_set, unit.seed)
        if self._trainer is None or self._trainer.data.name.split(":")[0] != task:
            self._trainer = Trainer(data, self.recipes[task], compiled=self.compiled)
        self._trainer.data = data
        return self._trainer

    def _signals(self, trainer: Trainer, unit: Unit, name: str) -> dict[str, Any]:
        method, keep = SIGNAL_RUNS[name]
        trained = trainer.run(method, keep, seed=unit.seed)
        if name == "emp":
            self._keep(unit, trained)
        precision = all_measured(signals_of(trained.columns), trainer.data.wrong, seed=unit.seed)
        return {**counted(trained), "accuracy": round(trained.accuracy, 4), "precision": precision}

    def _cleanlab(self, trainer: Trainer, unit: Unit, name: str) -> dict[str, Any]:
        method, keep = FOLD_RUNS[name]
        data, parts = trainer.data, []
        predicted = np.zeros((len(data.x), data.num_classes))
        order = stratified_order(data.given, seed=unit.seed)
        for fold in range(NUM_FOLDS):
            held = order[fold::NUM_FOLDS]
            among = torch.ones(len(order), dtype=torch.bool).index_fill_(0, held, False).nonzero().squeeze(1)
            trained = trainer.run(method, keep, seed=unit.seed, among=among, predict=held)
            predicted[held] = trained.probabilities
            parts.append(trained)
        scores = cleanlab_scores(data.given.numpy(), predicted)
        return {
            "visits": sum(part.visits for part in parts),
            "seconds": round(sum(part.seconds for part in parts), 1),
            "precision": all_measured(scores, data.wrong, seed=unit.seed),
        }

    def _worth(self, trainer: Trainer, unit: Unit, name: str) -> dict[str, Any]:
        """Train in full after as many samples as are wrong were left out, or were given their true label."""
        data = trainer.data
        size, everything = int(data.wrong.sum()), torch.arange(len(data.x))
        margins = suspicions(self._columns(trainer, unit))["mean_margin"]
        suspects = torch.from_numpy(order_of(margins, seed=unit.seed)[:size])
        drawn = torch.from_numpy(np.random.default_rng(unit.seed).permutation(len(everything))[:size])
        if name == "correct-suspects":
            labels = data.given.index_copy(0, suspects, data.true[suspects])
            trained = trainer.run("full", 1.0, seed=unit.seed, labels=labels)
        else:
            left_out = suspects if name == "drop-suspects" else drawn
            among = torch.ones(len(everything), dtype=torch.bool).index_fill_(0, left_out, False).nonzero().squeeze(1)
            trained = trainer.run("full", 1.0, seed=unit.seed, among=among)
        return {**counted(trained), "accuracy": round(trained.accuracy, 4), "num_suspects": size}

    def _guard(self, trainer: Trainer, unit: Unit, name: str) -> dict[str, Any]:
        method, guard = GUARD_RUNS[name]
        trained = trainer.run(method, 0.3, seed=unit.seed, guard=guard)
        return {**counted(trained), "accuracy": round(trained.accuracy, 4)}

    def _file(self, unit: Unit) -> Path:
        return self.work / unit.path.with_name(f"columns-{unit.seed}.npz")

    def _keep(self, unit: Unit, trained: Trained) -> None:
        self._file(unit).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(self._file(unit), **trained.columns)  # type: ignore[arg-type] # arrays by name

    def _columns(self, trainer: Trainer, unit: Unit) -> dict[str, Any]:
        """Return the columns of EMP's run, which is made again where another machine made it."""
        if not self._file(unit).is_file():
            self._keep(unit, trainer.run(*SIGNAL_RUNS["emp"], seed=unit.seed))
        with np.load(self._file(unit)) as content:
            return dict(content)


def counted(trained: Trained) -> dict[str, Any]:
    """Return a run's cost."""
    return {"visits": trained.visits, "seconds": round(trained.seconds, 1)}


def provenance() -> dict[str, Any]:
    """Return what the results came from."""
    compute = Compute.choose("cpu", "fp32")
    return {"versions": versions("scikit-learn", "cleanlab"), "machine": machine(compute, 1)}


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    part.replace(path)


_worker: list[Worker] = []


def start(results: Path, work: Path, human: Path, data_dir: Path | None) -> None:
    """Make the worker of a process."""
    torch.set_num_threads(1)
    _worker.append(Worker(results, work, human, data_dir))


def do(unit: Unit) -> str:
    """Let the worker of this process make a unit's runs."""
    return _worker[0].do(unit)


def main(
    human: Annotated[Path, typer.Option(help="The folder of cifar10n.npz and cifar100n.npz.")],
    work: Annotated[Path, typer.Option(help="For what is not committed.")] = Path("runs/label-errors"),
    results: Annotated[Path, typer.Option(help="For what is committed.")] = HERE / "results",
    stage: Annotated[list[str] | None, typer.Option(help="A stage alone; may be given again.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A label set alone; may be given again.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="A seed alone; may be given again.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the lab's data are.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 1,
) -> None:
    """Make what is missing of the registered runs."""
    units = [unit for unit in registered(stage or CAMPAIGN, seed or SEEDS) if unit.label_set in (only or LABEL_SETS)]
    arguments = (results, work, human, data_dir)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=start, initargs=arguments) as pool:
        for said in pool.map(do, units):
            typer.echo(said)


if __name__ == "__main__":
    typer.run(main)
