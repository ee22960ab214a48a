"""A finished run's model, settings and samples, written for other programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save_file
from torch import Tensor

from emprune_lab.errors import RunError
from emprune_lab.files import refuse_file
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.tasks import get_task
from emprune_lab.training.saved_state import load_state

__all__ = ["export_run", "weights_of"]


def export_run(run: Path, where: Path, *, say: Callable[[str], None]) -> list[Path]:
    """Write what a run left, and return the files.

    Args:
        run: The folder of a finished run.
        where: The folder of the files.
        say: Told, in a sentence, what is left out.

    Raises:
        RunError: If the folder holds no finished run.
    """
    folder = RunFolder(run)
    settings = folder.settings()
    if settings is None or not folder.finished:
        raise RunError(f"{run} must hold a finished run; got none. Finish it with --resume, or name another folder.")
    refuse_file(where)
    where.mkdir(parents=True, exist_ok=True)
    document = settings.model_dump()
    written = [where / "settings.json"]
    written[0].write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if (run / "samples.parquet").is_file():
        written.append(where / "samples.csv")
        pd.read_parquet(run / "samples.parquet").to_csv(written[-1], index=False)
    if get_task(settings.task).kind == "texts":
        say(f"{run} is a run on texts, which keeps no model: the settings and the samples are written.")
        return written
    state = folder.checkpoints.newest(load_state, say=say)
    if state is None:
        raise RunError(f"{run} holds a result without its last checkpoint. Delete the folder to run it again.")
    written.append(where / "model.safetensors")
    save_file(weights_of(state["session"]), written[-1], metadata={"emprune": json.dumps(document)})
    return written


def weights_of(session: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights that were scored, by the names that the model itself has for them.

    Args:
        session: What a checkpoint holds of the training: `model`, and `averaged` where weights are averaged.

    Example:
        >>> import torch
        >>> weights_of(
        ...     {"model": {}, "averaged": {"n_averaged": torch.ones(()), "module.fc.weight": torch.ones(1)}}
        ... )
        {'fc.weight': tensor([1.])}
    """
    averaged = session.get("averaged")
    if averaged is None:
        return {name: value.contiguous() for name, value in session["model"].items()}
    inside = {name: value for name, value in averaged.items() if name != "n_averaged"}
    return {name.removeprefix("module."): value.contiguous() for name, value in inside.items()}
