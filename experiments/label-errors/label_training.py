"""Training on a label set: a loop of the library's `ArrayLoader`, which runs, folds and second trainings share."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from emprune_lab.training.objectives.classification import smoothed_and_plain
from emprune_lab.training.optimization import one_cycle
from label_sets import LabelData
from numpy.typing import NDArray
from torch import Tensor

import emprune

__all__ = ["RECIPES", "Recipe", "Trained", "Trainer"]

SCORING_BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a task is trained, the same for every method."""

    epochs: int
    max_lr: float
    label_smoothing: float = 0.0
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4


RECIPES = {
    "fashion-mnist": Recipe(epochs=30, max_lr=0.2, label_smoothing=0.1),
    "20ng": Recipe(epochs=30, max_lr=0.05),
    "cifar10": Recipe(epochs=20, max_lr=0.2, label_smoothing=0.1),
    "cifar100": Recipe(epochs=20, max_lr=0.2, label_smoothing=0.1),
}


@dataclass
class Trained:
    """What a run left.

    Args:
        columns: (N,) float64 of each recorded column, and of `aum`, by name.
        visits: Samples that it trained on.
        accuracy: On the test set, in per cent; NaN where it was not asked for.
        seconds: That it took, with other work on the machine.
        probabilities: (M, C) of what was to be predicted.
    """

    visits: int
    seconds: float
    accuracy: float = float("nan")
    columns: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    probabilities: NDArray[np.float64] | None = None


class Trainer:
    """One network in memory, compiled once; every run begins with fresh weights.

    Args:
        data: What is trained on. Another label set of the same task may take its place.
        recipe: How.
        compiled: Whether the network is compiled.
    """

    def __init__(self, data: LabelData, recipe: Recipe, *, compiled: bool = True) -> None:
        self.data, self.recipe = data, recipe
        self.model = data.model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = torch.compile(self.model, dynamic=False) if compiled else self.model

    def run(
        self,
        method: str,
        keep: float,
        *,
        seed: int,
        guard: int | None = None,
        labels: Tensor | None = None,
        among: Tensor | None = None,
        predict: Tensor | None = None,
    ) -> Trained:
        """Train once.

        Args:
            method: As the command has it.
            keep: The cost.
            seed: Decides the weights, the plans and the augmentation.
            guard: Of the pruner.
            labels: (N,) int64; None for the given ones.
            among: Positions that are trained on; None for all.
            predict: Positions that are predicted in place of the test set.
        """
        data, recipe = self.data, self.recipe
        among = torch.arange(len(data.x)) if among is None else among
        y = (data.given if labels is None else labels)[among]
        torch.manual_seed(seed)
        self.model.load_state_dict(data.model().state_dict())
        self.model.train()
        arrays = (data.x[among], y)
        loader = emprune.ArrayLoader(
            arrays, method, batch_size=recipe.batch_size, transform=data.transform, drop_last=True,
            num_epochs=recipe.epochs, keep=keep, seed=seed, guard=guard, record="all",
        )  # fmt: skip
        started = time.perf_counter()
        aum = self._train(loader, arrays)
        loader.pruner.sync()
        visits, seconds = int(loader.pruner.visits.sum()), time.perf_counter() - started
        if predict is not None:
            found = torch.softmax(self.logits(data.x[predict]).double(), 1)
            return Trained(visits, seconds, probabilities=found.numpy())
        right = self.logits(data.test[0]).argmax(1) == data.test[1]
        accuracy = 100 * float(right.double().mean())
        return Trained(visits, seconds, accuracy, {**columns_of(loader.pruner), "aum": aum})

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return (M, C) of raw samples, in evaluation mode."""
        self.model.eval()
        found = torch.cat([self.model(self._laid_out(self.data.prepare(part))) for part in x.split(SCORING_BATCH)])
        self.model.train()
        return found

    def _train(self, loader: emprune.ArrayLoader, arrays: tuple[Tensor, Tensor]) -> NDArray[np.float64]:
        """Train to the end, and return the mean margin of the logits: AUM as its paper has it."""
        recipe = self.recipe
        optimizer = torch.optim.SGD(
            self.model.parameters(), lr=recipe.max_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
            nesterov=True, fused=True,
        )  # fmt: skip
        margins, step = torch.zeros(len(arrays[0]), dtype=torch.float64), 0
        for _ in loader.epochs():
            for index, (x, y) in loader:
                rate = recipe.max_lr * one_cycle(step / max(1, loader.total_steps - 1))
                optimizer.param_groups[0]["lr"] = rate
                logits = self.network(self._laid_out(x))
                smoothed, plain = smoothed_and_plain(logits, y, label_smoothing=recipe.label_smoothing)
                loader.reduce(index, smoothed, logits.detach(), score_losses=plain).backward()
                optimizer.step()
                optimizer.zero_grad()
                margins[index] += margin(logits.detach(), y).double()
                step += 1
            if loader.pruner.method.needs_gap:
                self._measure_gap(loader.pruner, arrays)
        return (margins / loader.pruner.visits).numpy()

    def _measure_gap(self, pruner: emprune.DataPruner, arrays: tuple[Tensor, Tensor]) -> None:
        probe = pruner.probe()
        losses = [
            float(F.cross_entropy(self.logits(x), y)) for x, y in (self.data.validation, [a[probe] for a in arrays])
        ]
        pruner.observe_validation(losses[0], train_loss=losses[1])

    @staticmethod
    def _laid_out(x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B,) of the label's logit minus the highest other one.

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([2])).tolist()
        [-1.0]
    """
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return own.squeeze(1) - others.amax(1)


def columns_of(pruner: emprune.DataPruner) -> dict[str, Any]:
    """Return (N,) float64 of the columns that signals are made of."""
    names = ("loss", "mean_loss", "mean_margin", "first_learnt", "forgotten")
    return {name: pruner.stats[name].double().numpy() for name in names}
