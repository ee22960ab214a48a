"""A tiny language model, tiny data in GLUE's form, and runs on them that take a second."""

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.training.texts.fine_tuning import TextTraining
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from tests.lab.runs import SilentReporter, log, outcome, run_of, settings_for

WORDS = ["good", "bad", "film", "plot", "actor", "the", "a", "very", "not", "slow", "quick", "end"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
NUM_TRAIN, NUM_TEST = 48, 20


def write_model(folder: Path) -> Path:
    """Write a BERT of one layer, and its tokenizer."""
    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_glue(data_dir: Path) -> Path:
    """Write CoLA and MNLI, tiny: a sentence is acceptable if it says good; a pair follows if it says the same."""
    draw = random.Random(0)

    def sentence() -> str:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 7)))

    for folder in ("CoLA", "MNLI"):
        (data_dir / "glue" / folder).mkdir(parents=True)
    for part, size in (("train", NUM_TRAIN), ("dev", NUM_TEST)):
        texts = [sentence() for _ in range(size)]
        lines = [f"gj04\t{int('good' in text)}\t\t{text}" for text in texts]
        (data_dir / "glue" / "CoLA" / f"{part}.tsv").write_text("\n".join(lines) + "\n")
        labels = ["entailment", "neutral", "contradiction"]
        rows = [f"{n}\t{sentence()}\t{sentence()}\t{labels[n % 3]}" for n in range(size)]
        name = "train" if part == "train" else "dev_matched"
        head = "index\tsentence1\tsentence2\tgold_label"
        (data_dir / "glue" / "MNLI" / f"{name}.tsv").write_text("\n".join([head, *rows]) + "\n")
    return data_dir


def text_settings(place: Path, method: str = "emp", *, task: str = "glue:mnli", **settings: Any) -> Settings:
    """Return settings for data and model that `write_glue` and `write_model` wrote below `place`."""
    values = {"epochs": 4, "keep": 0.5, "batch_size": 4, "max_lr": 1e-2, "device": "cpu", "precision": "fp32"}
    return settings_for(task, method, model=f"hf:{place / 'model'}", **{**values, **settings})


def run_text(
    settings: Settings, path: Path, place: Path, *, stop_after: int | None = None, report: SilentReporter | None = None
) -> TextTraining:
    """Run in `path`, resuming what is there; ask to stop after so many batches of this call."""
    report = report or SilentReporter()
    folder = RunFolder.open(path, settings, resume=True)
    training = TextTraining(run_of(settings, data_dir=place / "data"))
    training.train(folder, report=report, stop=lambda: stop_after is not None and report.steps >= stop_after)
    return training


def weights(training: TextTraining) -> dict[str, Any]:
    return cast(dict[str, Any], training.trainer.model.state_dict())  # type: ignore[union-attr]


def assert_equal_text_runs(one: Path, other: Path, trainings: tuple[TextTraining, TextTraining]) -> None:
    first, second = map(weights, trainings)
    assert all(first[name].equal(second[name]) for name in first)
    assert np.array_equal(np.load(one / "visits.npy"), np.load(other / "visits.npy"))
    assert pq.read_table(one / "samples.parquet").equals(pq.read_table(other / "samples.parquet"))
    assert outcome(one) == outcome(other)
    assert log(one) == log(other)
