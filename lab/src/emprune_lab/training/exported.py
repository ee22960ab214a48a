"""A finished run's model, settings and samples, written for other programs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from emprune.errors import ConfigError, EmpruneError
from emprune_lab.data.blocks import END, TOKENIZER
from emprune_lab.errors import RunError
from emprune_lab.files import refuse_file
from emprune_lab.models.language import language_config
from emprune_lab.models.pretrained import load_tokenizer
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.tasks import BlockTask, ImageTask, get_task, kind_of
from emprune_lab.training.saved_state import load_state

__all__ = ["CONFIG", "export_run", "packed", "weights_of"]

SETTINGS, SAMPLES, MODEL, CONFIG = "settings.json", "samples.csv", "model.safetensors", "config"
IMAGE_MODEL = "model.json"
DESCRIPTIONS = (IMAGE_MODEL, "config.json", TOKENIZER, "tokenizer_config.json")


def export_run(run: Path, where: Path, *, data_dir: Path | None = None, say: Callable[[str], None]) -> list[Path]:
    """Write what a run left, and return the files.

    Args:
        run: The folder of a finished run.
        where: The folder of the files.
        data_dir: Where data sets are cached, for the tokenizer of a language model; None is the user's cache.
        say: Told, in a sentence, what is left out.

    Raises:
        RunError: If the folder holds no finished run.
        ConfigError: If `where` is a file, or a folder with other things in it than an earlier export.
    """
    folder = RunFolder(run)
    settings = folder.settings()
    if settings is None or not folder.finished:
        raise RunError(f"{run} must hold a finished run; got none. Finish it with --resume, or name another folder.")
    _refuse_other_folder(where)
    weights = _weights(folder, settings, say)  # first: an earlier export stays where there are none to write
    where.mkdir(parents=True, exist_ok=True)
    for name in (SAMPLES, MODEL, *DESCRIPTIONS):  # of an earlier export, perhaps of another run
        (where / name).unlink(missing_ok=True)
    written = [where / SETTINGS]
    written[0].write_text(json.dumps(settings.model_dump(), indent=1) + "\n", encoding="utf-8")
    if (run / "samples.parquet").is_file():
        written.append(where / SAMPLES)
        pd.read_parquet(run / "samples.parquet").to_csv(written[-1], index=False)
    if weights is None:
        return written
    written.append(where / MODEL)
    written[-1].write_bytes(weights)
    match kind_of(settings.task):
        case "images":
            _describe_image_model(settings, where, say)
        case "texts":
            _describe_classifier(settings, where, data_dir)
        case "blocks":
            _describe_language_model(settings, where, data_dir)
    return [*written, *filter(Path.is_file, (where / name for name in DESCRIPTIONS))]


def _weights(folder: RunFolder, settings: Settings, say: Callable[[str], None]) -> bytes | None:
    """Return what model.safetensors gets; None where the run kept no model."""
    if kind_of(settings.task) == "texts":
        if folder.model.is_file():
            return folder.model.read_bytes()
        say(f"{folder.path} kept no model, as runs of `compare` on texts do: the settings and the samples are written.")
        return None
    state = folder.checkpoints.newest(load_state, say=say)
    if state is None or state["tally"]["steps"] < folder.result()["optimizer_steps"]:
        raise RunError(f"{folder.path} holds a result without its last checkpoint. Delete the folder to run it again.")
    return packed(weights_of(state["session"]), settings)


def _refuse_other_folder(where: Path) -> None:
    """Raise ConfigError unless the folder is new, empty, or of an earlier export, which wrote its settings first."""
    refuse_file(where)
    held = sorted(path.name for path in where.iterdir()) if where.is_dir() else []
    if held and not (SETTINGS in held and b'"task"' in (where / SETTINGS).read_bytes()):
        raise ConfigError(
            f"`out` must be a new folder, or one of an earlier export; got {str(where)!r}, which holds {held[0]}. "
            "Choose another --out."
        )


def _describe_image_model(settings: Settings, where: Path, say: Callable[[str], None]) -> None:
    """Write what an image must become before the model takes it, and the names of the user's own classes."""
    try:
        task = get_task(settings.task)
    except EmpruneError:
        task = None
    if task is None or task.files != settings.data.files:
        say(f"The images of {settings.task} are not those of the run: {IMAGE_MODEL} is not written.")
        return
    assert isinstance(task, ImageTask)
    about = {
        "model": settings.training.model,
        "objective": task.objective,
        "num_classes": task.num_classes,
        "classes": list(task.classes) or None,
        "input_shape": task.input_shape,
        "mean": task.mean,
        "std": task.std,
    }
    (where / IMAGE_MODEL).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _describe_classifier(settings: Settings, where: Path, data_dir: Path | None) -> None:
    """Write what `from_pretrained` needs beside a fine-tuned model's weights: the configuration and the tokenizer."""
    with safe_open(where / MODEL, "pt") as file:
        config = file.metadata()[CONFIG]
    (where / "config.json").write_text(config, encoding="utf-8")
    load_tokenizer(settings.training.model, data_dir=data_dir).save_pretrained(where)


def _describe_language_model(settings: Settings, where: Path, data_dir: Path | None) -> None:
    """Write what `from_pretrained` needs beside a language model's weights: the configuration and the tokenizer."""
    from transformers import PreTrainedTokenizerFast

    task = get_task(settings.task)
    assert isinstance(task, BlockTask)
    assert task.data is not None, "its documents are fetched"
    tokenizer = task.data.ensure(data_dir) / TOKENIZER
    names = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END)
    PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), model_max_length=task.length, **names).save_pretrained(where)
    sizes = {"vocabulary": task.vocabulary, "length": task.length}
    language_config(settings.training.model, **sizes).save_pretrained(where)


def packed(weights: Mapping[str, Tensor], settings: Settings, **more: str) -> bytes:
    """Return weights as safetensors have them, with a run's settings in the metadata.

    Args:
        weights: By their names.
        settings: The run's.
        **more: What else is in the metadata, by name.
    """
    whole = {name: value.contiguous() for name, value in weights.items()}
    return save(whole, metadata={"format": "pt", "emprune": json.dumps(settings.model_dump()), **more})


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
