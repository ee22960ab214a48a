"""What `lengths` saves: the padding of one epoch of real texts, and the time of its steps, with and without.

    python benchmarks/padding.py clinc150 glue:sst-2 20ng

The texts are the lab's, and each epoch a random part of them. The steps are those of MiniLM with 2 of its layers.
Steps with and without take turns. `--help` says more; the lab and the extra `transformers` are needed.
"""

import argparse
import json
import platform
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from emprune_lab.models.pretrained import load_pretrained, load_tokenizer
from emprune_lab.tasks import get_task
from emprune_lab.training.texts.encoding import Encoded, Encoder
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

import emprune

MODEL = "minilm-2"


def main() -> None:
    """Measure each task, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="tasks on texts, by name")
    parser.add_argument("--batch-size", type=int, default=32, help="samples of a step (default: %(default)s)")
    parser.add_argument("--keep", type=float, default=0.5, help="share of the epoch (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="steps to time of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="where data is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps({"python": platform.python_version(), "torch": torch.__version__,
                      "transformers": transformers.__version__, "threads": torch.get_num_threads()}))  # fmt: skip
    for name in options.tasks:
        print(json.dumps(measure(name, options)), flush=True)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return tokens, padded tokens and seconds of a step, in random order and by length."""
    task: Any = get_task(name)
    texts = Encoder(MODEL, task.max_length, options.data_dir)(task.load(data_dir=options.data_dir).train)
    lengths = [len(tokens["input_ids"]) for tokens in texts.tokens]
    epochs = {"random": _one_epoch(texts, None, options), "by length": _one_epoch(texts, lengths, options)}
    padded = {kind: sum(batch["input_ids"].numel() for batch in epoch) for kind, epoch in epochs.items()}
    seconds = _seconds(epochs, task.num_classes, options)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in epochs["random"])
    return {
        "task": name,
        "samples": sum(len(batch["labels"]) for batch in epochs["random"]),
        "padded tokens per token": {kind: round(padded[kind] / tokens, 3) for kind in epochs},
        "milliseconds a step": {kind: round(1000 * value, 1) for kind, value in seconds.items()},
        "faster": round(seconds["random"] / seconds["by length"], 2),
    }


def _one_epoch(texts: Encoded, lengths: list[int] | None, options: argparse.Namespace) -> list[Any]:
    """Return the batches of an epoch; both kinds have the same samples."""
    collate = DataCollatorWithPadding(load_tokenizer(MODEL, data_dir=options.data_dir))
    plain = DataLoader(texts, batch_size=options.batch_size, shuffle=True, collate_fn=collate)
    loader = emprune.PrunedLoader(
        plain, "random", num_epochs=2, keep=options.keep, tail_epochs=0, seed=options.seed, lengths=lengths
    )
    loader.set_epoch(0)
    return [batch for _, batch in loader]


def _seconds(epochs: dict[str, list[Any]], num_classes: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the mean seconds of a step. The two kinds take turns, so that other work on the machine meets both."""
    model = load_pretrained(MODEL, num_classes=num_classes, data_dir=options.data_dir)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    spent = dict.fromkeys(epochs, 0.0)
    chosen = {kind: epoch[:: max(1, len(epoch) // options.steps)] for kind, epoch in epochs.items()}
    for number, batches in enumerate(islice(zip(*chosen.values(), strict=True), options.steps + 2)):
        for kind, batch in zip(chosen, batches, strict=True):
            start = time.perf_counter()
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if number >= 2:  # the first two warm up
                spent[kind] += time.perf_counter() - start
    return {kind: value / options.steps for kind, value in spent.items()}


if __name__ == "__main__":
    main()
