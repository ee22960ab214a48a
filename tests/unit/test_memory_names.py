"""The names by which a saved state tells memory terms apart, in any process."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import emprune
from emprune.memory import MemoryTerm, instance_entropy, view_alignment
from emprune.memory.terms import memory_name
from emprune.testing import through_disk
from tests.unit.support import make_pruner

HERE = __name__


def first(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


def scaled(outputs: Any, scale: float = 1.0, *, base: Any = view_alignment) -> Tensor:
    return scale * torch.as_tensor(base(outputs))


class Terms:
    @staticmethod
    def of_first(outputs: Tensor) -> Tensor:
        return outputs[:, 0]

    @classmethod
    def of_class(cls, outputs: Tensor) -> Tensor:
        return outputs[:, 0]

    def of_object(self, outputs: Tensor) -> Tensor:
        return outputs[:, 0]


class MoreTerms(Terms):
    pass


@dataclass(frozen=True)
class Scaled:
    scale: float

    def __call__(self, outputs: Tensor) -> Tensor:
        return self.scale * outputs[:, 0]


def make_local() -> MemoryTerm:
    def local(outputs: Tensor) -> Tensor:
        return outputs[:, 0]

    return local


NAMED: dict[str, MemoryTerm] = {
    "prediction_entropy": emprune.memory.prediction_entropy,
    f"{HERE}.first": first,
    f"{HERE}.Terms.of_first": Terms.of_first,
    f"{HERE}.Terms.of_class": Terms.of_class,
    f"{HERE}.MoreTerms.of_class": MoreTerms.of_class,
    "torch._VariableFunctionsClass.neg": torch.neg,
    "torch.nn.functional.softmax(dim=1)": partial(nn.functional.softmax, dim=1),
    "instance_entropy(temperature=0.1)": partial(instance_entropy, temperature=0.1),
    f"{HERE}.scaled(2.0)": partial(scaled, 2.0),
    f"{HERE}.scaled(scale=2.0)": partial(partial(scaled, scale=1.0), scale=np.float64(2.0)),
    f"{HERE}.scaled(base=instance_entropy(temperature=0.1), scale=2.0)": partial(
        scaled, scale=2.0, base=partial(instance_entropy, temperature=0.1)
    ),
    f"{HERE}.scaled(base=({HERE}.first, None, 'x'))": partial(scaled, base=[first, None, "x"]),
    f"{HERE}.scaled(base=torch.float64)": partial(scaled, base=torch.float64),
}


@pytest.mark.parametrize(("name", "memory"), NAMED.items(), ids=NAMED)
def test_a_term_is_known_by_its_path_and_options(name: str, memory: MemoryTerm) -> None:
    assert memory_name(memory) == name
    assert emprune.EMP(memory=memory).settings()["memory"] == name


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a lambda": (lambda: lambda outputs: outputs[:, 0], "got a lambda"),
    "a local function": (make_local, "got make_local.<locals>.local, which is inside another function"),
    "a method of an object": (lambda: Terms().of_object, "got Terms.of_object of an object"),
    "a tensor's method": (lambda: torch.ones(2).add, "got Tensor.add of an object"),
    "an object with state": (lambda: Scaled(2.0), "got an object of Scaled"),
    "a class": (lambda: Scaled, "got the class Scaled"),
    "a module": (lambda: nn.Flatten(), "got an object of Flatten"),
    "a partial of a lambda": (lambda: partial(lambda outputs, k: outputs[:, k], k=1), "got a lambda"),
    "a lambda in a partial": (lambda: partial(scaled, base=lambda outputs: outputs), "got a lambda"),
    "a tensor in a partial": (lambda: partial(scaled, base=torch.ones(2)), "got `base` of type Tensor"),
    "an array in a partial": (lambda: partial(scaled, np.ones(2)), "got an argument of type ndarray"),
}


@pytest.mark.parametrize(("make", "found"), REFUSED.values(), ids=REFUSED)
def test_what_no_name_tells_apart_is_refused(make: Callable[[], Any], found: str) -> None:
    with pytest.raises(emprune.ConfigError, match="`memory` must be") as caught:
        emprune.EMP(memory=make())
    assert found in str(caught.value)


@pytest.mark.parametrize("memory", [None, 3, "entropy", ("prediction_entropy",)])
def test_what_is_no_term_is_refused(memory: Any) -> None:
    with pytest.raises(emprune.ConfigError, match="`memory` must be prediction_entropy, .* or a function") as caught:
        emprune.EMP(memory=memory)
    assert f"got {memory!r}" in str(caught.value)


def test_a_state_tells_two_terms_apart() -> None:
    state = through_disk(make_pruner(emprune.EMP(memory=partial(scaled, scale=2.0))).state_dict())
    make_pruner(emprune.EMP(memory=partial(scaled, scale=2.0))).load_state_dict(state)
    for other in (partial(scaled, scale=3.0), scaled, first):
        with pytest.raises(emprune.errors.StateError, match=r"scaled\(scale=2\.0\)"):
            make_pruner(emprune.EMP(memory=other)).load_state_dict(state)


def test_another_process_gives_the_same_name() -> None:
    code = f"""
from functools import partial
from {HERE} import scaled
from emprune.memory.terms import memory_name
print(memory_name(partial(scaled, base=scaled, scale=0.1)))
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert finished.stdout.strip() == memory_name(partial(scaled, base=scaled, scale=0.1))
