"""Slow, obvious twins of the methods: dictionaries, loops and sorting, one sample at a time, in Python's floats.

A twin knows what it remembers of each sample, its score, and which samples an epoch *must* visit. Where chance decides,
it knows how many samples chance chooses and from which.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Memory = dict[str, float]


@dataclass
class Twin:
    """Remembers dictionaries of numbers by sample, and scores them."""

    remember: Callable[[Memory | None, float, float], Memory]
    score_of: Callable[[Memory], float]
    samples: dict[int, Memory] = field(default_factory=dict)

    def observe(self, sample: int, loss: float, memory: float) -> None:
        """Enter one observation of one sample."""
        self.samples[sample] = self.remember(self.samples.get(sample), loss, memory)

    def score(self, sample: int) -> float:
        """Return a seen sample's score."""
        return self.score_of(self.samples[sample])

    def highest(self, k: int) -> set[int]:
        """Return the k seen samples that score highest."""
        return set(sorted(self.samples, key=self.score, reverse=True)[:k])

    def first(self, num_kept: int, num_samples: int) -> int:
        """Return how many of the epoch's samples are unseen ones."""
        return min(num_kept, num_samples - len(self.samples))


def greedy() -> Twin:
    """The last loss."""
    return Twin(lambda old, loss, memory: {"loss": loss}, lambda own: own["loss"])


def emp(beta: float) -> Twin:
    """The last loss plus beta times the last memory term."""
    return Twin(
        lambda old, loss, memory: {"loss": loss, "memory": memory}, lambda own: own["loss"] + beta * own["memory"]
    )


def candidates(num_kept: int, *, validation_loss: float, train_loss: float) -> int:
    """How many candidates EMP has that follows the gap: from twice as many as are kept down to as many."""
    gap = validation_loss - train_loss
    if gap <= 0:
        return 2 * num_kept
    return round(num_kept + num_kept * math.exp(-10 * gap))


@dataclass
class ReducibleLoss(Twin):
    """The last loss minus each sample's irreducible loss."""

    irreducible: Sequence[float] = ()

    def score(self, sample: int) -> float:
        """Return a seen sample's score."""
        return self.samples[sample]["loss"] - self.irreducible[sample]


def reducible_loss(irreducible: Sequence[float]) -> Twin:
    """The last loss, known by sample."""
    return ReducibleLoss(lambda old, loss, memory: {"loss": loss}, lambda own: own["loss"], irreducible=irreducible)


def is_hidden(logits: Sequence[float], label: int, confidence: float) -> bool:
    """Whether the label is predicted, with this confidence or more: KAKURENBO's two conditions, as they are stated."""
    total = sum(math.exp(value) for value in logits)
    probabilities = [math.exp(value) / total for value in logits]
    most = max(probabilities)
    return probabilities.index(most) == label and most >= confidence


def seta(losses: Sequence[float], num_kept: int, *, epoch: int, num_groups: int, window: float) -> list[int]:
    """The samples of the window: sorted by loss, cut into groups, and the groups of this epoch joined."""
    lowest_first, n = sorted(range(len(losses)), key=losses.__getitem__), len(losses)
    groups = [lowest_first[g * n // num_groups : (g + 1) * n // num_groups] for g in range(num_groups)]
    width = max(1, round(num_groups * window))
    while width * n // num_groups < num_kept and width < num_groups:
        width += 1
    start = epoch % (num_groups - width + 1)
    return [sample for group in groups[start : start + width] for sample in group]


def epsilon_greedy(alpha: float) -> Twin:
    """A moving average of the losses."""

    def remember(old: Memory | None, loss: float, memory: float) -> Memory:
        return {"mean": loss if old is None else (1 - alpha) * old["mean"] + alpha * loss}

    return Twin(remember, lambda own: own["mean"])


def ucb(alpha: float, c: float) -> Twin:
    """A moving average of the losses, plus c times one of the squared distances from the average before."""

    def remember(old: Memory | None, loss: float, memory: float) -> Memory:
        if old is None:
            return {"mean": loss, "variance": 0.0}
        distance = loss - old["mean"]
        return {
            "mean": (1 - alpha) * old["mean"] + alpha * loss,
            "variance": (1 - alpha) * old["variance"] + alpha * distance * distance,
        }

    return Twin(remember, lambda own: own["mean"] + c * own["variance"])


def order_dp(losses: Sequence[float], pool: int, num_kept: int) -> list[float]:
    """Each sample's probability to be kept: over all pools, the share of those where it is among the highest losses."""
    times = [0] * len(losses)
    pools = list(itertools.combinations(range(len(losses)), pool))
    for members in pools:
        for sample in sorted(members, key=losses.__getitem__)[-num_kept:]:
            times[sample] += 1
    return [count / len(pools) for count in times]


def successive_sampling(weights: Sequence[float], num_kept: int) -> list[float]:
    """Each sample's probability to be kept: over all orders of k draws, each in proportion to the weights left."""
    kept = [0.0] * len(weights)
    for order in itertools.permutations(range(len(weights)), num_kept):
        probability, left = 1.0, sum(weights)
        for sample in order:
            probability *= weights[sample] / left
            left -= weights[sample]
        for sample in order:
            kept[sample] += probability
    return kept


@dataclass(frozen=True)
class Pruning:
    """What InfoBatch does to the seen samples of an epoch."""

    below: set[int]
    """The well-learned, of which some are pruned."""
    above: set[int]
    """The others, which all stay with weight 1."""
    num_stay: int
    """How many of the well-learned stay."""
    weight: float
    """What each of those is multiplied by."""


def infobatch(losses: Mapping[int, float], num_kept: int) -> Pruning:
    """Divide the seen samples: by their mean, or, where too few are below it, by the lowest rank that does."""
    mean = sum(losses.values()) / len(losses)
    below = {sample for sample, loss in losses.items() if loss < mean}
    num_pruned = len(losses) - num_kept
    if num_pruned > 0.9 * len(below):
        lowest_first = sorted(losses, key=losses.__getitem__)
        for rank in range(len(losses) + 1):
            below = set(lowest_first[:rank])
            if num_pruned <= 0.9 * rank:
                break
    num_stay = len(below) - num_pruned
    weight = len(below) / num_stay if below else 1.0
    return Pruning(below, set(losses) - below, num_stay, weight)


def num_kept_per_epoch(
    *, num_samples: int, num_epochs: int, keep: float, warmup: int, tail: int, quantum: int, ranks: int
) -> list[tuple[int, list[int]]]:
    """For each epoch, what is due to it in the end, and all sizes a loader can deliver."""
    full = max(size for size in range(num_samples + 1) if size % ranks == 0)
    budget = math.floor(keep * num_samples * num_epochs + 0.5)
    left = budget - (warmup + tail) * full
    num_pruned = num_epochs - warmup - tail
    epochs: list[tuple[int, list[int]]] = []
    for epoch in range(num_epochs):
        if keep == 1 or epoch < warmup or epoch >= num_epochs - tail:
            epochs.append((0, [full]))
            continue
        grain = quantum if left / num_pruned >= quantum else ranks
        due = warmup * full + left * (epoch - warmup + 1) // num_pruned
        epochs.append((due, [size for size in range(1, full + 1) if size % grain == 0] + [full]))
    return epochs


def gini(visits: Iterable[int]) -> float:
    """Half the mean distance between two samples' visits, relative to the mean."""
    counts = list(visits)
    total = sum(counts)
    if total == 0:
        return 0.0
    distance = sum(abs(one - other) for one in counts for other in counts)
    return distance / (2 * len(counts) * total)


def greedy_overlap(plan: Iterable[int], last_losses: Mapping[int, float]) -> float:
    """The share of the plan that is among as many samples of highest loss."""
    planned = set(plan)
    hardest = sorted(last_losses, key=last_losses.__getitem__, reverse=True)[: len(planned)]
    return len(planned & set(hardest)) / len(planned)


def entropy(logits: list[float]) -> float:
    """The entropy of softmax(logits), in nats, by its definition."""
    top = max(logits)
    total = sum(math.exp(value - top) for value in logits)
    probabilities = [math.exp(value - top) / total for value in logits]
    return -sum(p * math.log(p) for p in probabilities if p > 0)
