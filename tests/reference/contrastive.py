"""Slow, obvious twins of what contrastive learning needs: loops over samples, in Python's floats."""

import math

Vectors = list[list[float]]


def cosine(first: list[float], second: list[float]) -> float:
    """The cosine of the angle between two vectors, neither of them zero."""
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.hypot(*first) / math.hypot(*second)


def nt_xent(z1: Vectors, z2: Vectors, temperature: float) -> list[float]:
    """Each sample's loss: the mean over its two views of how badly the other one is told from all the rest."""
    views = [("first", i, z) for i, z in enumerate(z1)] + [("second", i, z) for i, z in enumerate(z2)]
    losses = []
    for sample in range(len(z1)):
        of_views = []
        for which, i, anchor in views:
            if i != sample:
                continue
            weights = {(other, j): math.exp(cosine(anchor, z) / temperature) for other, j, z in views}
            del weights[which, i]
            partner = ("second" if which == "first" else "first", sample)
            of_views.append(-math.log(weights[partner] / sum(weights.values())))
        losses.append(sum(of_views) / 2)
    return losses


def instance_entropy(first: Vectors, second: Vectors, temperature: float) -> list[float]:
    """Each sample's entropy over the other samples, as seen from one view to the other, both ways averaged."""
    entropies = []
    for i in range(len(first)):
        both_ways = []
        for anchors, others in ((first, second), (second, first)):
            weights = [math.exp(cosine(anchors[i], others[j]) / temperature) for j in range(len(first)) if j != i]
            q = [weight / sum(weights) for weight in weights]
            both_ways.append(-sum(p * math.log(p) for p in q))
        entropies.append(sum(both_ways) / 2)
    return entropies


def view_alignment(first: Vectors, second: Vectors) -> list[float]:
    """Each sample's cosine between its views."""
    return [cosine(a, b) for a, b in zip(first, second, strict=True)]
