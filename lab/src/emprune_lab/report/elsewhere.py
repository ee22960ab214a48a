"""What a budget has cost on the tasks that were measured: for a forecast, which has trained nothing.

`elsewhere.json` is written by ``python experiments/study/helps.py --write``, from the runs that are committed there.
"""

import json
import math
from dataclasses import dataclass
from importlib.resources import files

from emprune_lab.comparison.statistics import Estimate
from emprune_lab.comparison.table import Table
from emprune_lab.run import Run

__all__ = ["Measured", "elsewhere_table", "measured"]


@dataclass(frozen=True)
class Measured:
    """A task at a cost, in points of its score: means over the seeds.

    Args:
        task: What was trained, in words.
        kind: Of its samples, "images" or "texts".
        epochs: Of full training.
        keep: The share of its visits.
        shorter: Random permutation's score, which is ordinary training made shorter.
        emp: That of EMP with its default pool.
        full: That of full training.
        gain: EMP minus random permutation, paired by seed.
        gain_half_width: Of its 95 % interval.
        seeds: How many.
    """

    task: str
    kind: str
    epochs: int
    keep: float
    shorter: float
    emp: float
    full: float
    gain: float
    gain_half_width: float
    seeds: int


def measured() -> list[Measured]:
    """Return every task and cost that was measured."""
    text = files(__package__).joinpath("elsewhere.json").read_text(encoding="utf-8")
    return [Measured(**row) for row in json.loads(text)]


def elsewhere_table(run: Run) -> Table | None:
    """Return what the nearest cost to a run's has lost on each measured task of its kind.

    Returns:
        A row for each task; None where nothing like it was measured, or everything is visited.
    """
    keep = run.settings.cost.keep
    rows = [row for row in measured() if row.kind == run.task.kind]
    if run.task.objective != "classification" or keep == 1 or not rows:
        return None
    nearest = {
        task: min((row for row in rows if row.task == task), key=lambda row: abs(math.log(row.keep / keep)))
        for task in dict.fromkeys(row.task for row in rows)
    }
    formats = {"task": "", "visits a sample": "", "shorter": "+.1f", "EMP": "+.1f", "EMP − shorter": "+.1f"}
    return Table.of(
        formats,
        [
            [
                row.task,
                f"{row.keep * row.epochs:g} of {row.epochs}",
                row.shorter - row.full,
                row.emp - row.full,
                Estimate(row.gain, row.gain_half_width, row.seeds),
            ]
            for row in nearest.values()
        ],
        title="elsewhere: points above full training, at the nearest cost that was measured",
    )
