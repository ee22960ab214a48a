"""A guarded greedy equals a slow twin: a dictionary of losses, and of how often each sample was wrong in a row."""

import math

import pytest

import emprune
from emprune.testing import SyntheticTask

NUM_SAMPLES, NUM_EPOCHS, NUM_KEPT = 40, 14, 12


@pytest.mark.parametrize("guard", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_guarded_come_last(guard: int, seed: int) -> None:
    task = SyntheticTask(num_samples=NUM_SAMPLES, num_classes=3, seed=seed)
    losses: dict[int, float] = {}
    wrong: dict[int, int] = {}
    pruner = emprune.DataPruner(
        "greedy", num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=0.3, seed=seed, guard=guard
    )
    num_guarded = 0
    for epoch in range(NUM_EPOCHS):
        index = pruner.begin_epoch(epoch).index
        planned = set(index.tolist())
        assert len(planned) == NUM_KEPT
        is_open = {sample for sample in losses if wrong[sample] < guard}
        num_unseen = NUM_SAMPLES - len(losses)
        best = sorted(is_open, key=losses.__getitem__, reverse=True)[: max(0, NUM_KEPT - num_unseen)]
        assert set(best) <= planned
        others = planned - set(best)  # unseen ones, and guarded ones where nothing else is left
        assert len(others - losses.keys()) == min(num_unseen, NUM_KEPT)
        assert (others & losses.keys()).isdisjoint(is_open)
        num_guarded += len(losses) - len(is_open)
        batch_losses, logits = task.batch(index, epoch=epoch)
        pruner.observe(index, batch_losses, logits)
        highest = logits.double().softmax(1).amax(1).tolist()
        for sample, loss, probability in zip(index.tolist(), batch_losses.tolist(), highest, strict=True):
            losses[sample] = loss
            is_right = abs(probability - math.exp(-loss)) < 1e-5
            wrong[sample] = 0 if is_right else wrong.get(sample, 0) + 1
    assert num_guarded > 0
