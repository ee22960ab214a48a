"""Documents that are made up, in the cache of the task `language-model`, and runs on them that take a second."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs emprune-lab[texts]")

from emprune_lab.data.blocks import Document, write_blocks
from emprune_lab.data.cache import Source
from emprune_lab.settings import Settings
from emprune_lab.tasks.language_model import LANGUAGE_MODEL

from tests.lab.runs import settings_for

KINDS = ("documentation", "licences", "reviews")
LENGTH = 32


def documents(num: int = 180) -> list[Document]:
    """Return documents of few words each, which differ from kind to kind; some letters take several bytes."""
    draw = random.Random(0)
    words = {kind: [f"{kind[:3]}{letter}é" for letter in "abcdefghij"] for kind in KINDS}
    return [
        Document(kind, f"{kind}/{number}", " ".join(draw.choice(words[kind]) for _ in range(draw.randint(20, 200))))
        for number in range(num)
        for kind in [KINDS[number % 3]]
    ]


def collect(into: Path, _data_dir: Path) -> None:
    write_blocks(into, documents(), length=LENGTH)


def write_documents(data_dir: Path) -> Path:
    """Put the documents where the task looks for its own, and return the folder of all data sets."""
    assert LANGUAGE_MODEL.data is not None
    made_up = dataclasses.replace(LANGUAGE_MODEL.data, sources=(Source("the tests", collect),))
    made_up.fetch(data_dir)
    return data_dir


def block_settings(method: str = "emp", **settings: Any) -> Settings:
    values = {"model": "tiny-llama", "epochs": 4, "keep": 0.5, "train_size": 96, "batch_size": 8, "max_lr": 1e-2}
    machine = {"device": "cpu", "precision": "fp32"}
    return settings_for(LANGUAGE_MODEL.name, method, **{**values, **machine, **settings})
