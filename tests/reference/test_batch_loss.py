"""One loss per batch: what a running mean of it tells of each sample, as docs/guides/losses.md has it."""

import pytest
import torch

import emprune

NUM_SAMPLES, NUM_EPOCHS, BATCH_SIZE, ALPHA = 400, 60, 8, 0.3


def test_the_running_mean_of_batch_losses_is_the_batch_loss_score() -> None:
    pruner, losses, scores = observed_run()
    assert pruner.stats["mean"].tolist() == pytest.approx(scores, rel=1e-5)
    correlation = float(torch.corrcoef(torch.stack([pruner.stats["mean"], losses]))[0, 1])
    last = float(torch.corrcoef(torch.stack([pruner.stats["loss"], losses]))[0, 1])
    assert 0.5 < correlation < 0.8
    assert last < correlation - 0.1


def observed_run() -> tuple[emprune.DataPruner, torch.Tensor, list[float]]:
    """Observe each batch's mean for all of its samples; return the true losses and the scores by the formula too."""
    losses = torch.empty(NUM_SAMPLES).exponential_(generator=torch.Generator().manual_seed(0))
    method = emprune.methods.EpsilonGreedy(epsilon=1, alpha=ALPHA, replan_every=1)
    pruner = emprune.DataPruner(method, num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=0.5)
    scores: list[float | None] = [None] * NUM_SAMPLES
    for epoch in range(NUM_EPOCHS):
        for index in pruner.begin_epoch(epoch).index.split(BATCH_SIZE):
            mean = losses[index].mean()
            pruner.observe(index, mean.expand(len(index)))
            for sample in index.tolist():
                old = scores[sample]
                scores[sample] = float(mean) if old is None else (1 - ALPHA) * old + ALPHA * float(mean)
    pruner.sync()
    return pruner, losses, [score for score in scores if score is not None]
