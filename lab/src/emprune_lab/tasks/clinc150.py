"""CLINC150: what people ask an assistant for, 150 intents (Larson et al., EMNLP 2019): the task with many classes."""

import json
from collections.abc import Callable
from pathlib import Path

from emprune_lab.data.cache import DataSet, Source
from emprune_lab.data.rows import fine_tuning, split_of
from emprune_lab.data.sources import download
from emprune_lab.files import read_text
from emprune_lab.tasks.task import Splits, Texts, TextTask

__all__ = ["CLINC150", "DATA"]

ADDRESS = "https://raw.githubusercontent.com/clinc/oos-eval/master/data/data_full.json"
FILE = "data_full.json"
SHA256 = "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"


def _from_address(into: Path, _data_dir: Path) -> None:
    download(ADDRESS, into / FILE)


DATA = DataSet(name="clinc150", sha256={FILE: SHA256}, sources=(Source(ADDRESS, _from_address),))


def load(data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits[Texts]:
    """Return the official training and test part, 100 and 30 questions for each intent; none are out of scope.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    content = json.loads(read_text(DATA.ensure(data_dir, say=say) / FILE))
    parts = [[(intent, text) for text, intent in content[part]] for part in ("train", "test")]
    intents = sorted({intent for intent, _ in parts[0]})
    return Splits(split_of(parts[0], intents), split_of(parts[1], intents), classes=intents)


CLINC150 = TextTask(
    name="clinc150",
    description="15,000 + 4,500 questions to an assistant, 150 intents; 1 MB to fetch",
    num_classes=150,
    load=load,
    max_length=64,
    recipe=fine_tuning(epochs=10, max_lr=5e-4),
)
