"""Contrastive learning: the loss, the memory terms, and every method trained with them."""

import math
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import emprune
from emprune.memory.terms import MemoryName, MemoryTerm, memory_name, memory_term
from emprune.testing import through_disk
from tests.messages import Raises
from tests.unit.support import make_pruner

# Three samples on the circle, at 0, 90 and 180 degrees; in the second view at 0, 180 and 90.
FIRST = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
SECOND = torch.tensor([[5.0, 0.0], [-1.0, 0.0], [0.0, 0.5]])
E = math.e


def test_golden_losses() -> None:
    # At 0 and 180 degrees a view sees cosines of 1, 0, 0, -1, -1 among the other five, at 90 degrees 1, 0, 0, 0, 0.
    # Sample 0's partner is the one at cosine 1; the others' are at 0.
    at_0 = -math.log(E / (E + 2 + 2 / E))
    at_90, at_180 = -math.log(1 / (E + 4)), -math.log(1 / (E + 2 + 2 / E))
    expected = [at_0, (at_90 + at_180) / 2, (at_90 + at_180) / 2]
    assert expected == pytest.approx([0.696357, 1.800595, 1.800595], abs=1e-6)
    assert emprune.losses.nt_xent(FIRST, SECOND, temperature=1.0).tolist() == pytest.approx(expected)


def test_golden_entropies() -> None:
    def entropy_of_two(difference: float) -> float:
        q = 1 / (1 + math.exp(-difference))
        return -q * math.log(q) - (1 - q) * math.log(1 - q)

    # Of the two others, sample 0 sees one at cosine 0 and one at -1; the others one at 1 and one at 0 from their view
    # at 90 degrees, one at 1 and one at -1 from the other.
    mixed = (entropy_of_two(1) + entropy_of_two(2)) / 2
    expected = [entropy_of_two(1), mixed, mixed]
    assert expected == pytest.approx([0.582203, 0.473768, 0.473768], abs=1e-6)
    assert emprune.memory.instance_entropy((FIRST, SECOND), temperature=1.0).tolist() == pytest.approx(expected)
    cold = [entropy_of_two(2), (entropy_of_two(2) + entropy_of_two(4)) / 2]
    assert emprune.memory.instance_entropy((FIRST, SECOND)).tolist() == pytest.approx([*cold, cold[1]])


def test_golden_alignments() -> None:
    assert emprune.memory.view_alignment((FIRST, SECOND)).tolist() == pytest.approx([1, 0, 0], abs=1e-7)
    assert emprune.memory.view_alignment({"a": (FIRST, SECOND), "b": (FIRST, -FIRST)}).tolist() == [0, -0.5, -0.5]


def test_sharp_losses_are_finite_and_so_are_their_gradients() -> None:
    z1 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True)
    losses = emprune.losses.nt_xent(z1, torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), temperature=1e-3)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert z1.grad is not None
    assert z1.grad.isfinite().all()
    assert float(losses[0].detach()) == pytest.approx(1000 + 500 * 0.5**0.5 + math.log(2), rel=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(emprune.losses.nt_xent, (z1, z2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_float32_losses_and_gradients_of_its_own(dtype: torch.dtype) -> None:
    z = torch.randn(2, 20, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    half, full = z.clone().requires_grad_(), z.float().requires_grad_()
    losses = emprune.losses.nt_xent(*half, temperature=0.05)
    expected = emprune.losses.nt_xent(*full, temperature=0.05)
    assert losses.equal(expected)
    losses.mean().backward()
    expected.mean().backward()
    assert half.grad is not None
    assert full.grad is not None
    assert half.grad.dtype == dtype
    assert half.grad.float().allclose(full.grad, rtol=2e-2, atol=1e-4)


def test_the_loss_compiles() -> None:
    compiled = torch.compile(partial(emprune.losses.nt_xent, temperature=0.2), backend="eager", fullgraph=True)
    assert compiled(FIRST, SECOND).allclose(emprune.losses.nt_xent(FIRST, SECOND, temperature=0.2))


def test_one_process_has_nobody_to_gather_from() -> None:
    assert emprune.losses.nt_xent(FIRST, SECOND, gather=True).equal(emprune.losses.nt_xent(FIRST, SECOND))


def test_nothing_is_changed_in_place() -> None:
    first, second = FIRST.clone(), SECOND.clone()
    emprune.losses.nt_xent(first, second)
    emprune.memory.instance_entropy((first, second))
    emprune.memory.view_alignment((first, second))
    assert first.equal(FIRST)
    assert second.equal(SECOND)


def test_memory_terms_have_no_graph() -> None:
    features = FIRST.clone().requires_grad_(), SECOND
    assert not emprune.memory.instance_entropy(features).requires_grad
    assert not emprune.memory.view_alignment(features).requires_grad


def test_an_empty_batch_is_empty() -> None:
    nobody = torch.empty(0, 3), torch.empty(0, 3)
    assert emprune.memory.instance_entropy(nobody).shape == (0,)
    assert emprune.memory.view_alignment(nobody).shape == (0,)
    assert emprune.losses.nt_xent(*nobody).shape == (0,)


def test_a_feature_of_zeros_is_at_right_angles_to_all() -> None:
    features = torch.cat([FIRST, torch.zeros(1, 2)]), torch.cat([SECOND, torch.ones(1, 2)])
    assert float(emprune.memory.view_alignment(features)[-1]) == 0
    assert emprune.memory.instance_entropy(features).isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(bad: float) -> None:
    features = torch.tensor([[1.0, bad], [1.0, 0.0], [0.0, 1.0]]), torch.ones(3, 2)
    assert emprune.memory.view_alignment(features).isnan().tolist() == [True, False, False]
    assert emprune.memory.instance_entropy(features).isnan().any()


@pytest.mark.parametrize("term", [emprune.memory.instance_entropy, emprune.memory.view_alignment])
@pytest.mark.parametrize(
    ("features", "value"),
    [
        (FIRST, "Tensor"),
        (torch.ones(2, 3, 4), "Tensor"),
        ((FIRST,), "tuple"),
        ((FIRST, SECOND[:2]), "(3, 2) torch.float32 and (2, 2) torch.float32"),
        ((FIRST[None], SECOND[None]), "(1, 3, 2) torch.float32 and (1, 3, 2) torch.float32"),
        ((FIRST.long(), SECOND.long()), "(3, 2) torch.int64 and (3, 2) torch.int64"),
        ({"a": FIRST}, "Tensor"),
        ({}, "an empty mapping"),
    ],
)
def test_other_features_are_refused(term: MemoryTerm, features: Any, value: str, raises: Raises) -> None:
    with raises(emprune.errors.ObservationError, parameter="features", value=value):
        term(features)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperatures_that_are_not_positive_are_refused(temperature: float, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="temperature", value=temperature):
        emprune.losses.nt_xent(FIRST, SECOND, temperature=temperature)
    with raises(emprune.ConfigError, parameter="temperature", value=temperature):
        emprune.memory.instance_entropy((FIRST, SECOND), temperature=temperature)


def test_other_projections_are_refused(raises: Raises) -> None:
    with raises(emprune.errors.ObservationError, parameter="z2", value=(2, 2)):
        emprune.losses.nt_xent(FIRST, SECOND[:2])
    with raises(emprune.errors.ObservationError, parameter="z1", value="torch.int64"):
        emprune.losses.nt_xent(FIRST.long(), SECOND)


@pytest.mark.parametrize("name", ["instance_entropy", "view_alignment"])
def test_terms_have_names(name: MemoryName) -> None:
    function = getattr(emprune.memory, name)
    assert memory_term(name) is function
    assert memory_name(function) == memory_name(name) == name


def scaled(outputs: Any, *, scale: float, base: MemoryTerm = emprune.memory.view_alignment) -> Tensor:
    return scale * base(outputs)


def test_a_partial_is_named_by_its_function_and_options() -> None:
    cold = partial(emprune.memory.instance_entropy, temperature=0.1)
    assert memory_name(cold) == "instance_entropy(temperature=0.1)"
    assert memory_name(partial(partial(scaled, scale=1.0), scale=2.0)).endswith("test_contrastive.scaled(scale=2.0)")
    by_function = memory_name(partial(scaled, scale=2.0, base=emprune.memory.view_alignment))
    assert by_function.endswith("scaled(base=view_alignment, scale=2.0)")
    assert by_function == memory_name(partial(scaled, base=emprune.memory.view_alignment, scale=2.0))
    assert memory_term(cold) is cold


def test_a_state_of_another_temperature_is_refused() -> None:
    def of(temperature: float) -> emprune.DataPruner:
        return make_pruner(emprune.EMP(memory=partial(emprune.memory.instance_entropy, temperature=temperature)))

    state = through_disk(of(0.1).state_dict())
    of(0.1).load_state_dict(state)
    with pytest.raises(emprune.errors.StateError, match=r"instance_entropy\(temperature=0\.1\).*temperature=0\.2"):
        of(0.2).load_state_dict(state)
    with pytest.raises(emprune.errors.StateError, match=r"`method`.*temperature=0.1"):
        make_pruner(emprune.EMP(memory="instance_entropy")).load_state_dict(state)


@pytest.mark.parametrize(
    "memory", ["instance_entropy", "view_alignment", partial(emprune.memory.instance_entropy, temperature=0.1)]
)
def test_emp_scores_the_loss_and_the_term(memory: MemoryName | MemoryTerm) -> None:
    pruner = make_pruner(emprune.EMP(beta=2.0, memory=memory), num_samples=6)
    index = pruner.begin_epoch(0).index
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner.observe(index, torch.arange(3.0), {"layer": (FIRST, SECOND)})
    pruner.sync()
    expected = torch.arange(3.0) + 2 * memory_term(memory)((FIRST, SECOND))
    assert pruner.method.score(pruner.stats)[index].allclose(expected)


NUM_SAMPLES, BATCH_SIZE, NUM_EPOCHS = 48, 8, 6
DATA = torch.randn(NUM_SAMPLES, 6, generator=torch.Generator().manual_seed(0))


def two_views(generator: torch.Generator, x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = (x + 0.3 * torch.randn(x.shape, generator=generator) for _ in range(2))
    return first, second


def collate(samples: list[tuple[Tensor]]) -> tuple[Tensor, Tensor]:
    return two_views(torch.Generator().manual_seed(0), torch.stack([x for (x,) in samples]))


def make_loader(pruner: emprune.DataPruner, delivery: str) -> emprune.ArrayLoader | emprune.PrunedLoader:
    if delivery == "arrays":
        return emprune.ArrayLoader((DATA,), pruner, batch_size=BATCH_SIZE, transform=two_views)
    loader = DataLoader(TensorDataset(DATA), BATCH_SIZE, shuffle=True, collate_fn=collate)
    return emprune.PrunedLoader(loader, pruner)


def methods() -> list[Any]:
    options: dict[str, dict[str, Any]] = {
        "emp": {"memory": "instance_entropy"},
        "static-subset": {"ranking": DATA[:, 0]},
        "reducible-loss": {"irreducible": DATA[:, 0]},
    }
    made = [
        pytest.param(emprune.methods.make_method(name, **options.get(name, {})), id=name)
        for name in emprune.methods.method_names()
    ]
    return [*made, pytest.param(emprune.EMP(memory="view_alignment", pool=2), id="emp, view_alignment")]


@pytest.mark.parametrize("delivery", ["arrays", "dataset"])
@pytest.mark.parametrize("method", methods())
def test_every_method_trains_a_contrastive_encoder(method: emprune.Method, delivery: str) -> None:
    torch.manual_seed(0)
    keep = 1.0 if isinstance(method, emprune.Full) else 0.5
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    pruner = emprune.DataPruner(method, num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=keep, seed=1)
    loader = make_loader(pruner, delivery)
    before = emprune.losses.nt_xent(model(DATA), model(DATA + 0.1)).mean()
    for epoch in range(NUM_EPOCHS):
        loader.set_epoch(epoch)
        for index, (view1, view2) in loader:
            with emprune.memory.capture_features(model, "1") as features:
                z1, z2 = model(view1), model(view2)
            pruner.reduce(index, emprune.losses.nt_xent(z1, z2), features).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert emprune.losses.nt_xent(model(DATA), model(DATA + 0.1)).mean() < before
    assert int(pruner.visits.sum()) == keep * NUM_SAMPLES * NUM_EPOCHS
