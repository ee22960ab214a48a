"""What holds of the contrastive loss and memory terms, whatever the features are."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from emprune.memory import entropy

Pair = tuple[Tensor, Tensor]
Term = Callable[[Pair], Tensor]

TEMPERATURES = st.sampled_from([0.05, 0.1, 0.5, 2.0])
TERMS: dict[str, Term] = {
    "nt_xent": lambda pair: emprune.losses.nt_xent(*pair),
    "nt_xent, cold": lambda pair: emprune.losses.nt_xent(*pair, temperature=0.1),
    "instance_entropy": emprune.memory.instance_entropy,
    "instance_entropy, cold": lambda pair: emprune.memory.instance_entropy(pair, temperature=0.1),
    "view_alignment": emprune.memory.view_alignment,
}
each_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


@st.composite
def pairs(draw: st.DrawFn, *, least: int = 1) -> Pair:
    """Two views of 1 to 12 samples that agree more or less, some entries and rows zero, as after a ReLU."""
    size, width = draw(st.integers(least, 12)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    agreement = draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))
    first, second = (torch.randn(size, width, generator=generator) for _ in range(2))
    second = agreement * first + (1 - agreement) * second
    return (first.relu(), second.relu()) if draw(st.booleans()) else (first, second)


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> bool:
    return actual.allclose(expected, rtol=tolerance, atol=tolerance)


@given(pairs(), TEMPERATURES)
def test_ranges(pair: Pair, temperature: float) -> None:
    size = len(pair[0])
    entropy = emprune.memory.instance_entropy(pair, temperature=temperature)
    assert bool((entropy >= 0).all())
    assert bool((entropy <= math.log(max(1, size - 1)) + 1e-6).all())
    losses = emprune.losses.nt_xent(*pair, temperature=temperature)
    assert bool((losses >= 0).all())
    assert bool((losses <= 2 / temperature + math.log(2 * size - 1) + 1e-4).all())
    assert bool((emprune.memory.view_alignment(pair).abs() <= 1).all())


@each_term
@given(pair=pairs(), data=st.data())
def test_samples_in_another_order_have_the_same_values_in_that_order(
    term: Term, pair: Pair, data: st.DataObject
) -> None:
    order = torch.tensor(data.draw(st.permutations(range(len(pair[0])))))
    assert close(term((pair[0][order], pair[1][order])), term(pair)[order])


@each_term
@given(pair=pairs())
def test_the_views_are_exchangeable(term: Term, pair: Pair) -> None:
    assert close(term((pair[1], pair[0])), term(pair))


@each_term
@given(pair=pairs(), seed=st.integers(0, 2**32))
def test_a_rotation_or_reflection_of_all_features_changes_nothing(term: Term, pair: Pair, seed: int) -> None:
    width = pair[0].shape[1]
    rotation = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed))).Q
    assert close(term((pair[0] @ rotation, pair[1] @ rotation)), term(pair), 1e-4)


@each_term
@given(pair=pairs(), seed=st.integers(0, 2**32), exponent=st.integers(-8, 8))
def test_the_length_of_each_feature_is_irrelevant(term: Term, pair: Pair, seed: int, exponent: int) -> None:
    scales = torch.rand(2, len(pair[0]), 1, generator=torch.Generator().manual_seed(seed)) + 0.5
    assert close(term((pair[0] * scales[0] * 10.0**exponent, pair[1] * scales[1])), term(pair), 1e-4)


@pytest.mark.parametrize("term", [emprune.memory.instance_entropy, emprune.memory.view_alignment])
@given(pair=pairs(), exponent=st.sampled_from([-35, -25, 25, 35]))
def test_features_whose_squares_are_no_floats_are_measured_all_the_same(term: Term, pair: Pair, exponent: int) -> None:
    assert close(term((pair[0] * 10.0**exponent, pair[1])), term(pair), 1e-4)


@each_term
@given(pair=pairs(), dtype=st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision_loses_nothing_more(term: Term, pair: Pair, dtype: torch.dtype) -> None:
    halves = pair[0].to(dtype), pair[1].to(dtype)
    values = term(halves)
    assert values.dtype == torch.float32
    assert close(values, term((halves[0].float(), halves[1].float())))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert term(halves).equal(values)


@given(pairs(least=2), TEMPERATURES)
def test_a_batch_of_duplicates_has_the_most_entropy_and_loss_there_is_without_knowing_one_from_another(
    pair: Pair, temperature: float
) -> None:
    size = len(pair[0])
    same = pair[0][:1].expand(size, -1), pair[0][:1].expand(size, -1)
    entropy = emprune.memory.instance_entropy(same, temperature=temperature)
    assert close(entropy, torch.full((size,), math.log(size - 1)))
    assert close(emprune.losses.nt_xent(*same, temperature=temperature), torch.full((size,), math.log(2 * size - 1)))


@given(st.integers(3, 12), st.data())
def test_whoever_is_in_the_batch_twice_is_taken_for_the_other_one(size: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, size - 2))
    first = torch.eye(size)
    first[-1] = first[position]
    entropy = emprune.memory.instance_entropy((first, first), temperature=0.02)
    doubled = torch.tensor([i in (position, size - 1) for i in range(size)])
    assert bool((entropy[doubled] < 1e-3).all())
    assert close(entropy[~doubled], torch.full((size - 2,), math.log(size - 1)))


@given(pairs(least=2))
def test_the_alignment_of_a_sample_does_not_depend_on_its_company(pair: Pair) -> None:
    alone = torch.cat([emprune.memory.view_alignment((a[None], b[None])) for a, b in zip(*pair, strict=True)])
    assert close(emprune.memory.view_alignment(pair), alone)


@given(pairs(), pairs())
def test_several_layers_give_the_mean(one: Pair, other: Pair) -> None:
    size = min(len(one[0]), len(other[0]))
    layers = {"a": (one[0][:size], one[1][:size]), "b": (other[0][:size], other[1][:size])}
    for term in (emprune.memory.instance_entropy, emprune.memory.view_alignment):
        assert close(term(layers), (term(layers["a"]) + term(layers["b"])) / 2)


@given(pairs(), st.integers(1, 150))
def test_chunks_change_nothing(pair: Pair, chunk: int) -> None:
    whole = emprune.memory.instance_entropy(pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "CHUNK_ELEMENTS", chunk)
        assert close(emprune.memory.instance_entropy(pair), whole, 1e-6)
