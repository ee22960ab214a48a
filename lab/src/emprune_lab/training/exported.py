"""A finished run's model, settings and samples, written for other programs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save
from torch import Tensor

from emprune_lab.errors import RunError
from emprune_lab.files import refuse_file
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.tasks import get_task
from emprune_lab.training.saved_state import load_state

__all__ = ["export_run", "packed", "weights_of"]


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
        if not folder.model.is_file():
            say(f"{run} kept no model, as runs of `compare` on texts do: the settings and the samples are written.")
            return written
        weights = folder.model.read_bytes()
    else:
        state = folder.checkpoints.newest(load_state, say=say)
        if state is None:
            raise RunError(f"{run} holds a result without its last checkpoint. Delete the folder to run it again.")
        weights = packed(weights_of(state["session"]), settings)
    written.append(where / "model.safetensors")
    written[-1].write_bytes(weights)
    return written


def packed(weights: Mapping[str, Tensor], settings: Settings) -> bytes:
    """Return weights as safetensors have them, with a run's settings in the metadata."""
    whole = {name: value.contiguous() for name, value in weights.items()}
    return save(whole, metadata={"emprune": json.dumps(settings.model_dump())})


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
        return dict(session["model"])
    inside = {name: value for name, value in averaged.items() if name != "n_averaged"}
    return {name.removeprefix("module."): value for name, value in inside.items()}
