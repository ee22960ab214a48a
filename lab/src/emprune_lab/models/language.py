"""Small causal language models, made from a configuration of transformers with fresh weights."""

import importlib.util
from typing import TYPE_CHECKING, Any

from torch import nn

from emprune.errors import ConfigError
from emprune_lab.errors import unknown_name

if TYPE_CHECKING:
    from transformers import LlamaConfig

__all__ = ["LANGUAGE_MODELS", "check_language_model", "language_config", "make_language_model"]

LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "tiny-llama": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    },
    "mini-llama": {
        "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4,
    },
    "small-llama": {
        "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4,
    },
}  # fmt: skip
"""What differs from Llama's configuration, by our names. With 4,096 tokens the last has 6.9 million parameters."""


def check_language_model(name: str) -> None:
    """Raise ConfigError unless there is a model of that name, and what is needed to make it."""
    if name not in LANGUAGE_MODELS:
        raise unknown_name("language model", name, LANGUAGE_MODELS)
    missing = [package for package in ("tokenizers", "transformers") if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"Language models need {' and '.join(missing)}, not installed: pip install 'emprune[lab,transformers]'."
        )


def make_language_model(name: str, *, vocabulary: int, length: int) -> nn.Module:
    """Return a model (B, T) tokens -> output with `logits` (B, T, V); the weights come from torch's global generator.

    Args:
        name: One of `LANGUAGE_MODELS`.
        vocabulary: Tokens V.
        length: The longest row of tokens T.
    """
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(language_config(name, vocabulary=vocabulary, length=length))


def language_config(name: str, *, vocabulary: int, length: int) -> "LlamaConfig":
    """Return what a model is made from; the arguments are those of `make_language_model`. Token 0 ends a text."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=length,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        use_cache=False,
        architectures=["LlamaForCausalLM"],
        **LANGUAGE_MODELS[name],
    )
