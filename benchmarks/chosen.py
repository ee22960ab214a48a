"""How many visits of a short run are chosen by scores: a Markdown table, from the plans of the engine.

    python benchmarks/chosen.py

Unseen samples come first, so a run chooses only once it has seen them. `--help` says more.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import emprune
from emprune.errors import ConfigError


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.1, 0.3, 0.5], help="default: %(default)s")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: %(default)s")
    parser.add_argument("--num-samples", type=int, default=1000, help="in the dataset (default: %(default)s)")
    options = parser.parse_args()
    print("\n".join(table(options.keep, options.epochs, num_samples=options.num_samples)))


def table(keeps: list[float], epochs: list[int], *, num_samples: int) -> Iterator[str]:
    """Yield the lines of the table, a row for each keep and warm-up."""
    heads = ["1 epoch" if number == 1 else f"{number} epochs" for number in epochs]
    yield f"| `keep` | `warmup_epochs` | {' | '.join(heads)} |"
    yield f"| ---: | ---: |{' ---: |' * len(epochs)}"
    for keep in keeps:
        for warmup_epochs in (0, 1):
            cost = {"num_samples": num_samples, "keep": keep, "warmup_epochs": warmup_epochs}
            cells = [cell(num_epochs=number, **cost) for number in epochs]
            yield f"| {keep} | {warmup_epochs} | {' | '.join(cells)} |"


def cell(**cost: Any) -> str:
    """Return the share of the visits that scores choose, from which epoch on; a dash where the cost cannot be met."""
    try:
        chosen, visits = chosen_per_epoch(emprune.DataPruner("greedy", **cost))
    except ConfigError:
        return "–"
    if not any(chosen):
        return "0 %"
    first = next(epoch for epoch, number in enumerate(chosen, start=1) if number)
    return f"{sum(chosen) / visits:.0%}, from epoch {first}".replace("%", " %")


def chosen_per_epoch(pruner: emprune.DataPruner) -> tuple[list[int], int]:
    """Return how many visits of each epoch scores choose, and the visits of the run. Losses are positions."""
    chosen, visits = [], 0
    for epoch in range(pruner.num_epochs):
        pruner.sync()
        seen = pruner.stats.seen  # a new tensor: the next epoch does not change it
        index = pruner.begin_epoch(epoch).index
        chosen.append(0 if pruner.schedule.is_full(epoch) else int(seen[index].count_nonzero()))
        visits += len(index)
        pruner.observe(index, index.float())
    return chosen, visits


if __name__ == "__main__":
    main()
