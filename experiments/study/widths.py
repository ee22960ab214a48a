"""Print the pools of A's runs as a table to replay: the mean over the seeds at nine evenly spaced points of the visits.

python experiments/study/widths.py runs/study/e5-fashion-mnist/fashion-mnist/emp-adaptive-*
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

NUM_POINTS = 9


def widths(folder: Path) -> NDArray[np.float64]:
    """Return the pool's width at evenly spaced points of a run's visits."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    visits = np.array([record["visits"] for record in records])
    pools = [record["summary"]["details"]["pool"] for record in records]
    found: NDArray[np.float64] = np.interp(np.linspace(0, 1, NUM_POINTS), visits / visits[-1], pools)
    return found


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of `compare`, each of a method's seeds.", exists=True)],
) -> None:
    """Print `replay` for each folder, rounded to a tenth."""
    for folder in folders:
        seeds = sorted(folder.glob("seed-*"))
        mean = np.mean([widths(seed) for seed in seeds], axis=0)
        typer.echo(f"replay={'/'.join(f'{width:.1f}' for width in mean)}  {len(seeds)} seeds of {folder.name}")


if __name__ == "__main__":
    typer.run(main)
