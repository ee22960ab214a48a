"""What is recorded equals a slow twin that knows the labels, a sample at a time in Python's floats."""

import itertools
import math
from dataclasses import dataclass, field

import pytest

import emprune
from emprune.testing import SyntheticTask

NUM_SAMPLES, NUM_EPOCHS = 40, 9
METHODS = {
    "emp": emprune.EMP(),
    "greedy": emprune.Greedy(),
    "ucb": emprune.methods.UCB(),
    "random": emprune.Random(),
    "infobatch": emprune.InfoBatch(),
}


def softmax(logits: list[float]) -> list[float]:
    """Return the probabilities of the classes."""
    total = sum(map(math.exp, logits))
    return [math.exp(logit) / total for logit in logits]


@dataclass
class Twin:
    """A sample's losses, and its logits, by epoch."""

    epochs: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    logits: list[list[float]] = field(default_factory=list)

    def column(self, name: str) -> float:
        """Return a column's value after all of these."""
        right = [self._margin(i) > 0 for i in range(len(self.epochs))]
        if name == "mean_loss":
            return sum(self.losses) / len(self.losses)
        if name == "mean_margin":
            return sum(map(self._margin, range(len(self.epochs)))) / len(self.epochs)
        if name == "first_learnt":
            return next((epoch for epoch, is_right in zip(self.epochs, right, strict=True) if is_right), -1)
        if name == "forgotten":
            return sum(before and not after for before, after in itertools.pairwise(right))
        if name == "predicted":
            return max(range(5), key=self.logits[-1].__getitem__)
        return {"right": float(right[-1]), "recorded": float(len(self.epochs))}[name]

    def _margin(self, visit: int) -> float:
        p = softmax(self.logits[visit])
        label = min(range(len(p)), key=lambda c: abs(-math.log(p[c]) - self.losses[visit]))
        return p[label] - max(p[:label] + p[label + 1 :])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", METHODS)
def test_every_recorded_column(name: str, seed: int) -> None:
    pruner = emprune.DataPruner(
        METHODS[name], num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=0.45, tail_epochs=0, seed=seed, record="all"
    )
    task, twins = SyntheticTask(num_samples=NUM_SAMPLES, seed=seed), [Twin() for _ in range(NUM_SAMPLES)]
    for epoch in range(NUM_EPOCHS):
        for index in pruner.begin_epoch(epoch).index.split(7):
            losses, logits = task.batch(index, epoch=epoch)
            pruner.observe(index, losses, logits)
            for sample, loss, row in zip(index.tolist(), losses.tolist(), logits.tolist(), strict=True):
                twins[sample].epochs.append(epoch)
                twins[sample].losses.append(loss)
                twins[sample].logits.append(row)
    pruner.sync()
    assert len(pruner.recording.columns) == 7
    for column in pruner.recording.columns:
        ours = pruner.stats[column.name]
        for sample, twin in enumerate(twins):
            expected = twin.column(column.name) if twin.epochs else column.initial
            assert float(ours[sample]) == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True), column.name
    assert int(pruner.stats["forgotten"].sum()) > 0
