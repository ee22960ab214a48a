"""CIFAR-100 on one GPU: the data resident, bf16, a compiled step, and emprune's `ArrayLoader` in front of it.

A process takes one run after another from a list, so that the model is compiled once::

    python experiments/gpu-cifar100/train.py --data FOLDER --runs runs.json --out results

`FOLDER` holds `cifar-100-python`, the official pickles. `runs.json` is a list of objects with `method`, `keep` and
`seed`. Several processes may share a list: each run is taken once. A run that is finished is not made again.
"""

import argparse
import json
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from emprune_lab.models.resnet import resnet18, resnet50
from torch import Tensor, nn

import emprune

MODELS = {"resnet18": resnet18, "resnet50": resnet50}
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
NUM_CLASSES, PIXELS = 100, 4
Losses = tuple[Tensor, Tensor, Tensor]
"""(B,) losses with label smoothing, which are optimised; (B,) without, which the score sees; (B, C) logits."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a study share."""

    model: str = "resnet18"
    epochs: int = 200
    batch_size: int = 256
    max_lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    compile_mode: str = "graph"


def load(folder: Path, device: torch.device) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the training and the test images (N, 3, 32, 32) uint8 and labels (N,) int64, on the device."""
    parts = []
    for name in ("train", "test"):
        content = pickle.loads((folder / "cifar-100-python" / name).read_bytes(), encoding="bytes")
        images = torch.from_numpy(np.ascontiguousarray(content[b"data"])).view(-1, 3, 32, 32)
        parts.append((images.to(device), torch.tensor(content[b"fine_labels"], device=device)))
    return parts[0], parts[1]


def made_up(device: torch.device) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return random images of the same shapes, for timing alone."""
    train, test = (
        (
            torch.randint(256, (size, 3, 32, 32), dtype=torch.uint8, device=device),
            torch.randint(NUM_CLASSES, (size,), device=device),
        )
        for size in (50_000, 10_000)
    )
    return train, test


def augment(generator: torch.Generator, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Crop at random from a border of four reflected pixels, and mirror every second image."""
    size, width = len(x), x.shape[-1]
    shift = torch.randint(-PIXELS, PIXELS + 1, (2, size, 1), generator=generator, device=x.device)
    mirrored = torch.rand(size, 1, generator=generator, device=x.device) < 0.5
    places = torch.arange(width, device=x.device)
    rows, columns = ((width - 1) - ((width - 1) - (places + shift).abs()).abs()).unbind()
    columns = torch.where(mirrored, columns.flip(1), columns)
    batch = torch.arange(size, device=x.device)[:, None, None]
    return x[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2), y  # channels last


def one_cycle(progress: float) -> float:
    """Return the learning rate as a fraction of its maximum: up over the first 30 %, then down, both by a cosine."""
    low, high, fraction = (1 / 25, 1.0, progress / 0.3) if progress < 0.3 else (1.0, 4e-6, (progress - 0.3) / 0.7)
    return low + (high - low) / 2 * (1 - math.cos(math.pi * fraction))


class Trainer:
    """One model in memory and its compiled step; each run begins with fresh weights."""

    def __init__(self, settings: Settings, data: Any, device: torch.device) -> None:
        self.settings, self.device = settings, device
        (self.images, self.labels), (self.test_images, self.test_labels) = data
        self.model = self._fresh(0)
        self.mean, self.std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (MEAN, STD))
        self.forward: Callable[[Tensor, Tensor], Losses] = self._forward
        captured = settings.compile_mode == "graph"
        if settings.compile_mode != "none":
            mode = "default" if captured else settings.compile_mode
            self.forward = torch.compile(self._forward, dynamic=False, mode=mode)
        self.captured = Captured(self) if captured else None

    def run(self, method: str, keep: float, seed: int, *, max_steps: int | None = None) -> dict[str, Any]:
        """Train once; return what is to be recorded."""
        s = self.settings
        self.model.load_state_dict(self._fresh(seed).state_dict())
        step_on = self._steps() if self.captured is None else self.captured.begin()
        loader = emprune.ArrayLoader(
            (self.images, self.labels), method, batch_size=s.batch_size, transform=augment, drop_last=True,
            num_epochs=s.epochs, keep=keep, seed=seed,
        )  # fmt: skip
        tested: dict[int, float] = {}
        step, visits, scoring = 0, 0, 0.0
        self._synchronise()
        start = time.perf_counter()
        for epoch in loader.epochs():
            for index, (x, y) in loader:
                step_on(loader.pruner, index, x, y, s.max_lr * one_cycle(step / max(1, loader.total_steps - 1)))
                step, visits = step + 1, visits + len(index)
                if step == max_steps:
                    break
            if step == max_steps:
                break
            if (epoch + 1) * 4 % s.epochs < 4:
                self._synchronise()
                before = time.perf_counter()
                tested[epoch + 1] = self.accuracy()
                scoring += time.perf_counter() - before
        self._synchronise()
        seconds = time.perf_counter() - start - scoring
        return {
            "method": method, "keep": keep, "seed": seed, "accuracy": tested.get(s.epochs), "tested": tested,
            "steps": step, "visits": visits, "seconds": seconds, "images_per_second": visits / seconds,
            "planning_seconds": loader.pruner.planning_seconds, "mean_loss": loader.pruner.mean_loss,
            "never_visited": int((loader.pruner.visits == 0).sum()),
        }  # fmt: skip

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the percentage of test images that are named right."""
        self.model.eval()
        right = torch.zeros((), device=self.device)
        for x, y in zip(self.test_images.split(1000), self.test_labels.split(1000), strict=True):
            right += (self._logits(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum()
        self.model.train()
        return 100 * float(right) / len(self.test_labels)

    def make_optimizer(self, rate: Any) -> torch.optim.SGD:
        """Return SGD with Nesterov's momentum for the model."""
        s, parameters = self.settings, self.model.parameters()
        fused = self.device.type == "cuda"
        return torch.optim.SGD(
            parameters, lr=rate, momentum=s.momentum, weight_decay=s.weight_decay, nesterov=True, fused=fused
        )

    def _steps(self) -> "Step":
        """Return the ordinary step, with a new optimizer."""
        optimizer = self.make_optimizer(self.settings.max_lr)

        def step(pruner: emprune.DataPruner, index: Tensor, x: Tensor, y: Tensor, rate: float) -> None:
            for group in optimizer.param_groups:
                group["lr"] = rate
            smoothed, plain, logits = self.forward(x, y)
            pruner.reduce(index, smoothed, logits, score_losses=plain).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def _forward(self, x: Tensor, y: Tensor) -> Losses:
        logits = self._logits(x)
        log_p = F.log_softmax(logits, dim=1)
        plain = F.nll_loss(log_p, y, reduction="none")
        smoothing = self.settings.label_smoothing
        return (1 - smoothing) * plain - smoothing * log_p.mean(1), plain.detach(), logits.detach()

    def _logits(self, x: Tensor) -> Tensor:
        x = (x.float() / 255 - self.mean) / self.std
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.model(x)
        return logits.float()

    def _fresh(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = MODELS[self.settings.model](3, NUM_CLASSES).to(self.device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


class Captured:
    """Forward, backward and the optimizer's step as one CUDA graph: a replay reads the inputs anew, and is observed.

    Args:
        trainer: Gives the compiled forward pass and the settings.
    """

    def __init__(self, trainer: Trainer) -> None:
        size, device = trainer.settings.batch_size, trainer.device
        self.x = torch.zeros(size, 3, 32, 32, dtype=torch.uint8, device=device)
        self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.y = torch.zeros(size, dtype=torch.int64, device=device)
        self.weight = torch.ones(size, device=device)
        self.rate = torch.zeros((), device=device)
        self.forward, self.optimizer = trainer.forward, trainer.make_optimizer(self.rate)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles, and chooses among algorithms
            for _ in range(5):
                self._whole_step()
                self.optimizer.zero_grad()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.losses = self._whole_step()

    def begin(self) -> "Step":
        """Return the step, with an optimizer that remembers nothing."""
        for state in self.optimizer.state.values():
            state["momentum_buffer"].zero_()
        self.weight.fill_(1)
        return self.step

    def step(self, pruner: emprune.DataPruner, index: Tensor, x: Tensor, y: Tensor, rate: float) -> None:
        """Replay the graph on a batch, and observe what it computed."""
        self.x.copy_(x)
        self.y.copy_(y)
        self.rate.fill_(rate)
        self.weight.copy_(pruner.weights(index), non_blocking=True)
        self.graph.replay()
        smoothed, plain, logits = self.losses
        pruner.observe(index, smoothed, logits, score_losses=plain)

    def _whole_step(self) -> Losses:
        losses = self.forward(self.x, self.y)
        (self.weight * losses[0]).mean().backward()
        self.optimizer.step()
        return losses


Step = Callable[[emprune.DataPruner, Tensor, Tensor, Tensor, float], None]


def versions(device: torch.device) -> dict[str, Any]:
    """Return what the runs were made with and on."""
    return {
        "emprune": emprune.__version__,
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def main() -> None:
    """Take the runs that are left, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="holds cifar-100-python; without it the images are made up")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--max-steps", type=int, help="stop each run after so many steps")
    parser.add_argument("--until", type=float, help="begin no run after this time, in seconds since 1970")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    settings = Settings(**{name: getattr(options, name) for name in asdict(Settings())})
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(max(1, min(4, (os.cpu_count() or 1) // 4)))
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings, load(options.data, device) if options.data else made_up(device), device)
    trainer.run("random-permutation", 0.1, 0, max_steps=5)  # compiles
    for run in json.loads(options.runs.read_text()):
        name = f"{run['method']}-{run['keep']}-{run['seed']}".replace(":", "-")
        if options.until is not None and time.time() > options.until:
            break
        try:
            (options.out / f"{name}.taken").open("x").close()
        except FileExistsError:
            continue
        result = trainer.run(run["method"], run["keep"], run["seed"], max_steps=options.max_steps)
        record = {**result, "settings": asdict(settings), "versions": versions(device)}
        (options.out / f"{name}.json").write_text(json.dumps(record) + "\n")
        print(
            f"{name}: {result['accuracy']} %, {result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
