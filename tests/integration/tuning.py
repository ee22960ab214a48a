"""Tiny models, a tokenizer and texts for TRL's real trainers; nothing is fetched."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl", reason="needs emprune[trl]")

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

import emprune

SPECIAL = ["[PAD]", "[UNK]", "[EOS]", "<user>", "<assistant>"]
WORDS = 50
CHAT = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + ' [EOS] ' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {word: number for number, word in enumerate(SPECIAL + [f"w{number}" for number in range(WORDS)])}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special: Any = {"pad_token": "[PAD]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    tokenizer.chat_template = CHAT
    return tokenizer


def make_lm(cls: Any = LlamaForCausalLM, **options: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + WORDS, num_attention_heads=2, pad_token_id=0, eos_token_id=2, **sizes, **options
    )
    model = cls(config)
    with torch.no_grad():  # initialised so small, all losses would be nearly the same
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(6)
    return model


def make_scorer() -> Any:
    return make_lm(LlamaForSequenceClassification, num_labels=1)


def words(first: int, number: int) -> str:
    return " ".join(f"w{(first + position * (first + 3)) % WORDS}" for position in range(number))


def completions(size: int = 24) -> Dataset:
    """Prompts of 2 to 13 words, and completions of 2 to 4."""
    return Dataset.from_list(
        [{"prompt": words(row, row % 12 + 2), "completion": " " + words(row + 7, row % 3 + 2)} for row in range(size)]
    )


def texts(size: int = 24) -> Dataset:
    return Dataset.from_list([{"text": words(row, row % 7 + 3)} for row in range(size)])


def chats(size: int = 24) -> Dataset:
    """Each has two turns."""
    return Dataset.from_list(
        [
            {
                "messages": [
                    {"role": role, "content": words(row + 5 * turn, (row + turn) % 4 + 1)}
                    for turn, role in enumerate(("user", "assistant", "user", "assistant"))
                ]
            }
            for row in range(size)
        ]
    )


def pairs(size: int = 24) -> Dataset:
    """Prompts of 2 to 13 words, with a chosen and a rejected completion."""
    return Dataset.from_list(
        [
            {
                "prompt": words(row, row % 12 + 2),
                "chosen": " " + words(row + 7, row % 3 + 2),
                "rejected": " " + words(row + 11, row % 4 + 1),
            }
            for row in range(size)
        ]
    )


def make_config(cls: Any, folder: Path, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 3,
        "learning_rate": 0.0,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **options,
    }
    return cls(str(folder), **settings)


def backbone_of(model: Any) -> Any:
    """The part of a model, LoRA or not, that a forward pass runs once."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model


def count_forwards(trainer: Any) -> int:
    """Train, and count the passes through the backbone."""
    passes: list[int] = []
    backbone_of(trainer.model).register_forward_hook(lambda *_: passes.append(1))
    trainer.train()
    return len(passes)


def method_of(spec: str) -> emprune.Method:
    return emprune.methods.make_method(spec)
