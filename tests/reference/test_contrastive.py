"""The contrastive loss and memory terms do what the slow twins do."""

import pytest
import torch

import emprune
from tests.reference import contrastive

SIZES = [(1, 3), (2, 1), (3, 4), (8, 5), (17, 2)]
TEMPERATURES = [0.1, 0.5, 1.0, 20.0]


def pair(size: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(size)
    first = torch.randn(size, width, generator=generator)
    return first, first + 0.7 * torch.randn(size, width, generator=generator)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("size", "width"), SIZES)
def test_nt_xent(size: int, width: int, temperature: float) -> None:
    z1, z2 = pair(size, width)
    expected = contrastive.nt_xent(z1.tolist(), z2.tolist(), temperature)
    assert emprune.losses.nt_xent(z1, z2, temperature=temperature).tolist() == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )
    exactly = emprune.losses.nt_xent(z1.double(), z2.double(), temperature=temperature)
    assert exactly.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("size", "width"), SIZES)
def test_instance_entropy(size: int, width: int, temperature: float) -> None:
    first, second = pair(size, width)
    expected = contrastive.instance_entropy(first.tolist(), second.tolist(), temperature)
    entropy = emprune.memory.instance_entropy((first, second), temperature=temperature)
    assert entropy.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("size", "width"), SIZES)
def test_view_alignment(size: int, width: int) -> None:
    first, second = pair(size, width)
    expected = contrastive.view_alignment(first.tolist(), second.tolist())
    assert emprune.memory.view_alignment((first, second)).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
