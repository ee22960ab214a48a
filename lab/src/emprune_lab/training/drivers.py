"""How a kind of task is trained and timed: images by our own loop, texts by the Hugging Face Trainer."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from emprune.distributed import Ranks
from emprune.errors import ConfigError
from emprune_lab.compute import Compute
from emprune_lab.files import draft_folder
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import Splits, get_task
from emprune_lab.training.loop import Reporter, train
from emprune_lab.training.objectives import make_objective
from emprune_lab.training.objectives.objective import curve_epochs, tested_epochs
from emprune_lab.training.session import Session, make_loader, make_pruner
from emprune_lab.training.speed import Speed, measure_speed

__all__ = ["check", "num_scored", "run", "time_steps"]


@contextmanager
def _said_elsewhere() -> Iterator[None]:
    """Leave out the methods' own warnings, which a run or a table says once, where they are seen."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "On two classes EMP")
        warnings.filterwarnings("ignore", "InfoBatch at keep")
        yield


@_said_elsewhere()
def run(
    config: RunConfig,
    folder: RunFolder,
    splits: Splits[Any],
    *,
    ranks: Ranks,
    data_dir: Path | None,
    report: Reporter,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Train from where the folder's run stands to its end, and return the result.

    Args:
        config: The run's settings.
        folder: Opened for them.
        splits: The task's data, divided as the settings say.
        ranks: Those that share the run.
        data_dir: Where data sets are cached; None is the user's cache.
        report: Told about every batch and epoch.
        stop: Asked after every batch; once it says yes the run writes a checkpoint and stops.

    Raises:
        StoppedError: If `stop` said yes.
        RunError: If the losses diverge, or no checkpoint can be used.
    """
    if get_task(config.task).kind == "texts":
        from emprune_lab.training.texts.finetune import finetune  # takes seconds, and the extra `transformers`
        from emprune_lab.training.texts.text_session import TextSession

        with draft_folder(folder.checkpoints.folder) as written:
            texts = TextSession.build(config, splits, folder=written, data_dir=data_dir)
            return finetune(texts, folder, report=report, stop=stop)
    return train(Session.build(config, splits, ranks), folder, report=report, stop=stop)


@_said_elsewhere()
def check(config: RunConfig, splits: Splits[Any], ranks: Ranks) -> None:
    """Raise ConfigError if a run is impossible, before anything is written."""
    if get_task(config.task).kind == "images":
        make_loader(make_objective(config, Compute.choose(config.device, config.precision)), splits.train, ranks)
        return
    if ranks.size > 1:
        raise ConfigError(
            f"{config.task} is a task on texts, which `emprune run` trains in one process; got {ranks.size} ranks. "
            "Start it without torchrun, or use PrunedTrainer in a script of your own."
        )
    make_pruner(config, len(splits.train)).schedule.num_kept_per_epoch(multiple_of=config.batch_size)


@_said_elsewhere()
def time_steps(config: RunConfig, splits: Splits[Any], *, data_dir: Path | None) -> Speed:
    """Return what a few steps of a run take on this machine, on the run's threads."""
    torch.set_num_threads(config.threads)
    if get_task(config.task).kind == "images":
        return measure_speed(Session.build(config, splits))
    from emprune_lab.training.texts.text_session import TextSession
    from emprune_lab.training.texts.text_speed import measure_text_speed

    with tempfile.TemporaryDirectory(prefix="emprune-") as folder:
        return measure_text_speed(TextSession.build(config, splits, folder=Path(folder), data_dir=data_dir))


def num_scored(config: RunConfig, splits: Splits[Any]) -> int:
    """Return how many samples a run's scoring takes through the model."""
    if get_task(config.task).kind == "images":
        return make_objective(config, Compute.choose(config.device, config.precision)).num_scored(splits)
    validation = 0 if splits.validation is None else len(splits.validation)
    return len(splits.test) * len(tested_epochs(config)) + validation * len(curve_epochs(config.epochs))
