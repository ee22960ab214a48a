"""Train a small language model on sentences of movie reviews with TRL, on a part of them in each epoch.

    pip install 'emprune[trl]'
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    tar xzf vaderSentiment-3.3.2.tar.gz
    tar xzf vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz
    python trl_movie_reviews.py --data hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt

The sentences (10,605) are Hutto and Gilbert's, ICWSM 2014. The model has random weights, and its vocabulary is made of
the sentences, so nothing else is fetched. Two lines prune: `PrunedSFTTrainer` and `method=..., keep=...`.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig

from emprune.integrations.trl import PrunedSFTTrainer


def read_sentences(file: Path, *, seed: int) -> Dataset:
    """Return the sentences in random order; a line is id, rating, text."""
    rows = [line.split("\t", 2) for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return Dataset.from_list([{"text": rows[position][2].strip()} for position in order])


def make_tokenizer(sentences: Dataset, *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-pair vocabulary of the sentences."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<pad>", "<end>"], initial_alphabet=letters)
    raw.train_from_iterator(sentences["text"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<end>")


def make_model(tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int) -> LlamaForCausalLM:
    """Return a small Llama with random weights."""
    sizes: dict[str, Any] = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=4, **sizes, **special))


def train(options: argparse.Namespace) -> float:
    """Train once and return the loss on the sentences that are held out, in nats a token."""
    set_seed(options.seed)
    sentences = read_sentences(options.data, seed=options.seed)
    if options.sentences is not None:
        sentences = sentences.select(range(options.sentences))
    parts = sentences.train_test_split(test_size=0.1, seed=options.seed)
    tokenizer = make_tokenizer(parts["train"], vocabulary=options.vocabulary)
    arguments = SFTConfig(
        options.out,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        max_length=64,
        bf16=False,
        activation_checkpointing=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=options.seed,
        logging_strategy="epoch",
        save_strategy="no",
        report_to=[],
    )
    trainer = PrunedSFTTrainer(
        make_model(tokenizer, hidden=options.hidden, layers=options.layers),
        args=arguments,
        train_dataset=parts["train"],
        eval_dataset=parts["test"],
        processing_class=tokenizer,
        method=options.method,
        keep=options.keep,
        seed=options.seed,
    )
    trainer.train()
    print(trainer.pruner.summary())
    scores = trainer.to_frame()
    if options.method not in ("random", "random-permutation"):
        for row in scores.nlargest(3, "loss")["row"]:
            print(f"hard to predict: row {row}, {parts['train'][int(row)]['text']!r}")
    return float(trainer.evaluate()["eval_loss"])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="movieReviewSnippets_GroundTruth.txt")
    parser.add_argument("--out", default="runs/trl-movie-reviews", help="folder for the trainer's files")
    parser.add_argument("--method", default="emp", help="as `emprune methods` lists them")
    parser.add_argument("--keep", type=float, default=0.5, help="mean fraction of the sentences visited per epoch")
    parser.add_argument("--epochs", type=int, default=6, help="in the first 1 / keep all is new, and nothing to choose")
    parser.add_argument("--vocabulary", type=int, default=2000, help="byte pairs")
    parser.add_argument("--hidden", type=int, default=128, help="the model's width")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=None, help="how many are used, a tenth of them to test")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(f"held-out loss {train(parse()):.3f} nats a token")
