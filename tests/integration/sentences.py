"""A tiny sentence encoder and pairs of texts for sentence-transformers' real trainer; nothing is fetched."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("sentence_transformers", reason="needs emprune[sentence-transformers]")

from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

NUM_ROWS = 24
COLUMNS = ("anchor", "positive", "negative")


def make_encoder(folder: Path) -> SentenceTransformer:
    """A BERT of one layer, whose embeddings tell the words apart."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {word: number for number, word in enumerate(special + [f"w{number}" for number in range(60)])}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names: Any = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=16, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    dropout: Any = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertModel(BertConfig(vocab_size=len(words), **sizes, **dropout))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(16)], device="cpu")


def words(first: int, number: int) -> str:
    return " ".join(f"w{(first + position * (first + 3)) % 60}" for position in range(number))


def rows(columns: int = 2, *, labels: bool = False) -> Dataset:
    """Rows of two or three texts of 2 to 6 words, with a label 0 or 1, or none."""
    data: dict[str, list[Any]] = {
        name: [words(row + 13 * number, (row + number) % 5 + 2) for row in range(NUM_ROWS)]
        for number, name in enumerate(COLUMNS[:columns])
    }
    if labels:
        data["label"] = [float(row % 3 > 0) for row in range(NUM_ROWS)]
    return Dataset.from_dict(data)


def make_arguments(folder: Path, **options: Any) -> SentenceTransformerTrainingArguments:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 3,
        "learning_rate": 0.0,
        "logging_steps": 1,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **options,
    }
    return SentenceTransformerTrainingArguments(str(folder / "run"), **settings)
