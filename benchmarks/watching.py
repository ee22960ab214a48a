"""What a pruner that watches a causal language model adds to a step of transformers' Trainer, on a CPU.

    OMP_NUM_THREADS=1 python benchmarks/watching.py

The Trainer with and without a pruner takes turns, a step each, in two threads of which one runs at a time. The time is
that of the thread's processor, and the quickest steps are compared, so other work disturbs little. Models have
random weights and texts are random tokens, so nothing is fetched. The extra `transformers` is needed.
"""

import argparse
import json
import tempfile
import threading
import time
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

import emprune
from emprune.integrations.transformers import PrunedTrainer

VARIANTS = ("no pruning", "full", "greedy", "emp")
"""The Trainer without a pruner comes first: the others are compared with it."""


class Turns(TrainerCallback):
    """Lets one trainer after the other take a step, and times the steps.

    Args:
        number: Which of the trainers this is.
        events: One for each trainer: set when it is its turn.
    """

    def __init__(self, number: int, events: list[threading.Event]) -> None:
        self.number, self.events = number, events
        self.seconds: list[float] = []
        self.start = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the turn."""
        self.events[self.number].wait()
        self.events[self.number].clear()
        self.start = time.thread_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hand the turn over."""
        self.seconds.append(time.thread_time() - self.start)
        self.events[(self.number + 1) % len(self.events)].set()


def make_trainer(options: argparse.Namespace, name: str, folder: str, turns: Turns) -> Trainer:
    """Return a trainer with a model and texts of its own, equal for all."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": options.hidden, "intermediate_size": options.hidden * 11 // 4}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=options.vocabulary,
            num_hidden_layers=options.layers,
            num_attention_heads=max(1, options.hidden // 64),
            use_cache=False,
            **sizes,
        )
    )
    texts: Tensor = torch.randint(options.vocabulary, (options.steps * options.batch_size, options.length))
    data = [{"input_ids": ids, "labels": ids} for ids in texts]
    arguments = TrainingArguments(
        folder,
        num_train_epochs=1,
        per_device_train_batch_size=options.batch_size,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    if name == VARIANTS[0]:
        return Trainer(model, arguments, train_dataset=data, callbacks=[turns])
    pruner = emprune.DataPruner(name, num_samples=len(data), num_epochs=1, keep=1.0)
    return PrunedTrainer(model, arguments, train_dataset=data, callbacks=[turns], pruner=pruner)


def main() -> None:
    """Train all variants in turn, and print what a step of each takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=256, help="the model's width (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--length", type=int, default=128, help="tokens of a text (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="texts of a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="of each variant (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    events = [threading.Event() for _ in VARIANTS]
    turns = [Turns(number, events) for number in range(len(VARIANTS))]
    with tempfile.TemporaryDirectory() as folder:
        trainers = [make_trainer(options, name, folder, each) for name, each in zip(VARIANTS, turns, strict=True)]
        threads = [threading.Thread(target=trainer.train) for trainer in trainers]
        for thread in threads:
            thread.start()
        events[0].set()
        for thread in threads:
            thread.join()
    quickest = [min(each.seconds) for each in turns]
    for name, seconds in zip(VARIANTS, quickest, strict=True):
        times = round(seconds / quickest[0], 3)
        print(json.dumps({"variant": name, "milliseconds a step": round(1000 * seconds, 1), "times": times}))


if __name__ == "__main__":
    main()
