"""Every option of every method: what is no value of it is refused at once, and NumPy's numbers are numbers."""

import dataclasses
import types
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import emprune
from emprune.checks import LARGEST_FLOAT32
from emprune.methods import method_class, method_names
from emprune.methods.options import options_of
from tests.messages import Raises
from tests.unit.support import inf, nan

CASES = [
    pytest.param(method_class(name), option, declared, id=f"{name}:{option}")
    for name in method_names()
    for option, declared in options_of(method_class(name)).items()
]
NO_VALUE: list[Any] = [nan, inf, -inf, -1, "2", "no", [1], {}, 1j, object, torch.tensor(1.0), np.ones(1)]


def refuse(cls: type[emprune.Method], option: str, value: Any) -> None:
    with pytest.raises(emprune.ConfigError, match=f"`{option}` must ") as caught:
        cls(**{option: value})
    shown = {repr(value), str(value), type(value).__name__, str(getattr(value, "dtype", repr(value)))}
    shown.add(getattr(value, "__name__", repr(value)))
    assert any(form in str(caught.value) for form in shown), str(caught.value)


@pytest.mark.parametrize(("cls", "option", "declared"), CASES)
def test_what_is_no_value_is_refused_when_the_method_is_made(
    cls: type[emprune.Method], option: str, declared: Any
) -> None:
    for value in NO_VALUE:
        refuse(cls, option, value)
    if types.NoneType not in declared.types:
        refuse(cls, option, None)
    if bool not in declared.types:
        refuse(cls, option, True)
        refuse(cls, option, np.True_)
    if float in declared.types:
        refuse(cls, option, 10**400)
    if declared.types == (int,):
        refuse(cls, option, 1.5)
    if declared.types == (bool,):
        refuse(cls, option, 1)


@pytest.mark.parametrize(("cls", "option", "declared"), CASES)
def test_numpys_numbers_are_numbers_and_kept_as_pythons(cls: type[emprune.Method], option: str, declared: Any) -> None:
    kinds: dict[type, tuple[Any, ...]] = {
        float: (np.float64(1), np.float32(1), np.int64(1), Fraction(1), 1),
        int: (np.int64(1), np.uint8(1), 1),
        bool: (np.True_, True),
    }
    for kind, values in kinds.items():
        for value in values if kind in declared.types else ():
            method = cls(**{option: value})
            assert method == cls(**{option: kind(1)})
            assert type(method.settings()[option]) is kind


def test_every_option_that_is_a_number_or_a_choice_was_looked_at() -> None:
    looked_at = {f"{case.values[0].name}:{case.values[1]}" for case in CASES}  # type: ignore[union-attr]
    fields = {
        f"{name}:{field.name}"
        for name in method_names()
        for field in dataclasses.fields(method_class(name))  # type: ignore[arg-type]
    }
    assert looked_at == fields


@pytest.mark.parametrize("option", ["beta", "c"])
def test_what_float32_cannot_hold_is_refused(option: str, raises: Raises) -> None:
    make: Any = emprune.EMP if option == "beta" else emprune.methods.UCB
    with raises(emprune.ConfigError, parameter=option, value=1e39):
        make(**{option: 1e39})


@pytest.mark.parametrize("memory", [0.0, 1e-30, 20.0, -20.0, 3e38])
@pytest.mark.parametrize("loss", [0.0, 3e38, -3e38])
def test_scores_stay_finite_at_the_largest_beta(memory: float, loss: float) -> None:
    method = emprune.EMP(beta=LARGEST_FLOAT32, memory=torch.neg, pool=None)
    pruner = emprune.DataPruner(method, num_samples=4, num_epochs=3, keep=0.75)
    for epoch in range(3):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.full((3,), loss), torch.full((3,), -memory))
    assert len(pruner.plan) == 3


@pytest.mark.parametrize("variance", [0.0, 1.0, 1e38])
def test_scores_stay_finite_at_the_largest_c(variance: float) -> None:
    pruner = emprune.DataPruner(emprune.methods.UCB(c=LARGEST_FLOAT32), num_samples=4, num_epochs=6, keep=0.75)
    for epoch in range(6):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.full((3,), variance**0.5 * (epoch % 2)))
    assert bool(pruner.method.score(pruner.stats).isfinite().all())


@pytest.mark.parametrize(
    ("ranking", "found"),
    [
        (torch.zeros(3, device="meta"), "a meta tensor"),
        (torch.ones(3).to_sparse(), "torch.sparse_coo"),
        (torch.zeros(2, 2), (2, 2)),
        (np.zeros(3), "ndarray"),
        (torch.zeros(3, dtype=torch.complex64), "torch.complex64"),
    ],
    ids=["meta", "sparse", "two dimensions", "array", "complex"],
)
def test_a_ranking_is_a_dense_float_tensor(ranking: Any, found: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="ranking", value=found):
        emprune.methods.StaticSubset(ranking)


@pytest.mark.parametrize("value", [0, -0.5, nan, inf, "0.5", True, None])
def test_a_temperature_is_a_positive_number(value: Any, raises: Raises) -> None:
    views = torch.eye(4), torch.eye(4)
    with raises(emprune.ConfigError, parameter="temperature", value=value):
        emprune.memory.instance_entropy(views, temperature=value)
    with raises(emprune.ConfigError, parameter="temperature", value=value):
        emprune.losses.nt_xent(*views, temperature=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, nan, inf, "0.1", True, None])
def test_label_smoothing_is_a_share(value: Any, raises: Raises) -> None:
    for loss in (emprune.losses.sequence_cross_entropy, emprune.losses.dense_cross_entropy):
        with raises(emprune.ConfigError, parameter="label_smoothing", value=value):
            loss(torch.zeros(2, 3, 3), torch.zeros(2, 3, dtype=torch.int64), label_smoothing=value)


@pytest.mark.parametrize("irreducible", [torch.full((4,), -3e38), torch.full((4,), 1e300, dtype=torch.float64)])
def test_reducible_losses_stay_finite(irreducible: torch.Tensor) -> None:
    pruner = emprune.DataPruner(emprune.methods.ReducibleLoss(irreducible), num_samples=4, num_epochs=3, keep=0.75)
    for epoch in range(3):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.full((3,), 3e38))
    assert len(pruner.plan) == 3
