"""What is recorded of any logits, and how any values are ranked."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from tests.property.strategies import tied, untied
from tests.unit.support import observe


def recorded(num_samples: int) -> emprune.DataPruner:
    return emprune.DataPruner("random", num_samples=num_samples, num_epochs=1, keep=1.0, record="all", seed=3)


@given(st.integers(2, 12), st.integers(1, 30), st.floats(0, 30), st.integers(0, 1000))
def test_the_margin_is_that_of_the_labels_though_nobody_hands_them_over(
    num_classes: int, num_samples: int, spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(num_samples, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_samples,), generator=generator)
    pruner = recorded(num_samples)
    pruner.begin_epoch(0)
    observe(pruner, F.cross_entropy(logits, labels, reduction="none"), logits)
    pruner.sync()
    p = logits.double().softmax(1)
    of_label = p.gather(1, labels[:, None]).squeeze(1)
    margin = of_label - p.scatter(1, labels[:, None], -1).amax(1)
    assert torch.allclose(pruner.stats["mean_margin"].double(), margin, atol=1e-5)
    clear = margin.abs() > 1e-4
    assert (pruner.stats["right"] == 1)[clear].equal((margin > 0)[clear])
    assert (pruner.stats["first_learnt"] == 0)[clear].equal((margin > 0)[clear])


@given(tied() | untied(), st.integers(0, 9), st.data())
def test_a_ranking_of_any_losses(losses: Tensor, seed: int, data: st.DataObject) -> None:
    losses = losses + 1 - losses.min()
    pruner = emprune.DataPruner("random", num_samples=len(losses), num_epochs=1, keep=1.0, seed=seed)
    pruner.begin_epoch(0)
    observe(pruner, losses)
    pruner.sync()
    k = data.draw(st.integers(1, len(losses)))
    found, whole = pruner.suspects(k), pruner.suspects(len(losses))
    assert found.index.equal(whole.index[:k])
    assert len(found.index.unique()) == k
    assert losses[whole.index].equal(losses.sort(descending=True).values)
    assert pruner.redundant(k).signals["loss"].equal(losses.sort().values[:k])
    assert found.mask.equal(found.quality < k / len(losses) - 1e-9)
    assert 0 <= float(found.quality.min()) <= float(found.quality.max()) < 1
