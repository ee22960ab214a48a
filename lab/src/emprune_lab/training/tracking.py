"""A run's epochs in TensorBoard or Weights & Biases, as `--track` asks."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emprune import DataPruner
from emprune.errors import ConfigError
from emprune.integrations.tracking import track
from emprune_lab.errors import RunError
from emprune_lab.run import Run

__all__ = ["Follow", "check_tracker", "identity_of", "tracking"]

Follow = Callable[[DataPruner, Mapping[str, Any]], None]
"""Is told of each epoch: the pruner, and the epoch's line in the log. Collective on several ranks."""

Log = Callable[[Mapping[str, float], int], object]
"""Takes numbers by name, and the epoch that they are of."""

PROJECT = "emprune"
MOST_LETTERS = 128
"""Of an identity in Weights & Biases."""


def check_tracker(name: str) -> None:
    """Raise ConfigError unless a tracker has that name, and its package is installed."""
    if name not in TRACKERS:
        raise ConfigError(f"`track` must be one of {', '.join(TRACKERS)}; got {name!r}.", parameter="track", value=name)
    if importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"`track` must be of a package that is installed; got {name!r}. Install it: pip install {name}.",
            parameter="track",
            value=name,
        )


@contextmanager
def tracking(run: Run, folder: Path, *, epoch: int, leads: bool) -> Iterator[Follow | None]:
    """Have a run's tracker open, and yield what follows its epochs; None where the run has no tracker.

    Args:
        run: The run.
        folder: The run's, in which the tracker writes.
        epoch: The first epoch that is told. What the tracker had from there on is replaced.
        leads: Whether this is the first rank. The first rank alone writes.

    Raises:
        RunError: If the tracker does not start.
    """
    if run.tracker is None:
        yield None
    elif not leads:
        yield lambda pruner, record: pruner.sync()
    else:
        with TRACKERS[run.tracker](run, folder, epoch) as (tracker, log):

            def follow(pruner: DataPruner, record: Mapping[str, Any]) -> None:
                numbers = {f"run/{key}": float(value) for key, value in record.items() if _is_number(value)}
                log(numbers, record["epoch"])
                track(pruner, tracker)

            yield follow


def identity_of(run: Run) -> str:
    """Return what Weights & Biases knows a run by: of a long name the end, which has the method and the seed."""
    return f"{run.task.slug}-{run.settings.folder_name}-{run.settings.seed}"[-MOST_LETTERS:]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@contextmanager
def _tensorboard(run: Run, folder: Path, epoch: int) -> Iterator[tuple[Any, Log]]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), purge_step=epoch) as writer:

        def log(numbers: Mapping[str, float], epoch: int) -> None:
            for name, value in numbers.items():
                writer.add_scalar(name, value, epoch)

        yield writer, log


@contextmanager
def _wandb(run: Run, folder: Path, epoch: int) -> Iterator[tuple[Any, Log]]:
    import wandb

    mode: Any = os.environ.get("WANDB_MODE")  # wandb itself reads it once in a process
    try:
        opened = wandb.init(
            project=PROJECT,
            dir=str(folder),
            group=run.task.name,
            name=run.label,
            config=run.settings.model_dump(mode="json"),
            id=identity_of(run),
            resume="allow",
            mode=mode,
            settings=wandb.Settings(silent=True),
        )
    except wandb.errors.Error as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise RunError(
            f"Weights & Biases did not start: {reason}. Log in with `wandb login`, or set WANDB_MODE=offline."
        ) from error
    with opened:
        opened.define_metric("run/*", step_metric=f"{PROJECT}/epoch")
        yield opened, lambda numbers, epoch: opened.log({f"{PROJECT}/epoch": epoch, **numbers})


TRACKERS = {"tensorboard": _tensorboard, "wandb": _wandb}
"""What opens a tracker, by its package's name: yields it, and what logs numbers of an epoch."""
