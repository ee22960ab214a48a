"""What pruning costs a causal language model in transformers' Trainer: forward passes, memory and steps per second.

The model is made from its configuration, with random weights, and the texts are random tokens with a masked prompt, so
nothing is fetched. `python benchmarks/causal_lm.py --help`; the extra `transformers` is needed.
"""

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

import emprune
from emprune.integrations.transformers import PrunedTrainer

VARIANTS: dict[str, tuple[str | None, float]] = {
    "no pruning": (None, 1.0),
    "full": ("full", 1.0),
    "random-permutation": ("random-permutation", 0.25),
    "infobatch": ("infobatch:delta=1", 0.25),
    "emp": ("emp", 0.25),
}
WARM_UP = 10


class Clock(TrainerCallback):
    """Times the steps after the first few, with nothing left to do on the device at either end."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.start = self.seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start or stop."""
        if state.global_step not in (WARM_UP, self.last):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if state.global_step == WARM_UP:
            self.start = time.perf_counter()
        else:
            self.seconds = time.perf_counter() - self.start


def texts(options: argparse.Namespace) -> list[dict[str, Tensor]]:
    """Return random tokens; the first quarter of each text is a prompt, which has no labels."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(options.vocabulary, (options.texts, options.length), generator=generator)
    labels = tokens.clone()
    labels[:, : options.length // 4] = -100
    return [{"input_ids": ids, "labels": label} for ids, label in zip(tokens, labels, strict=True)]


def measure(options: argparse.Namespace, name: str, folder: str) -> dict[str, Any]:
    """Train with one variant for as many steps as one epoch over all texts has."""
    spec, keep = VARIANTS[name]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=options.vocabulary, hidden_size=options.hidden, intermediate_size=options.hidden * 11 // 4,
                num_hidden_layers=options.layers, num_attention_heads=max(1, options.hidden // 128),
                use_cache=False,
            )
        )  # fmt: skip
    forwards = 0

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    model.model.register_forward_hook(count)
    epochs = round(1 / keep)
    arguments = TrainingArguments(
        folder, num_train_epochs=epochs, per_device_train_batch_size=options.batch_size, bf16=device == "cuda",
        optim="adamw_torch_fused", learning_rate=1e-4, save_strategy="no", logging_strategy="no", report_to=[],
        disable_tqdm=True, use_cpu=device == "cpu", dataloader_pin_memory=device == "cuda",
    )  # fmt: skip
    clock, data = Clock(options.texts // options.batch_size), texts(options)
    if spec is None:
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=[clock])
    else:
        method = emprune.methods.make_method(spec)
        pruner = emprune.DataPruner(method, num_samples=options.texts, num_epochs=epochs, keep=keep, tail_epochs=0)
        trainer = PrunedTrainer(model, arguments, train_dataset=data, callbacks=[clock], pruner=pruner)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    steps = trainer.state.global_step
    return {
        "variant": name,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "steps": steps,
        "forwards_per_step": forwards / steps,
        "steps_per_second": (clock.last - WARM_UP) / clock.seconds,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def main() -> None:
    """Measure the variants in turn, in rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--texts", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    records = []
    for number in range(options.rounds):
        for name in VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                records.append({"round": number, **measure(options, name, folder)})
            gc.collect()
            torch.cuda.empty_cache()
            print(json.dumps(records[-1]), flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
