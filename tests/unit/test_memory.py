"""prediction_entropy: values, shapes, dtypes and chunks."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import emprune
from emprune.memory import entropy, terms
from tests.messages import Raises

INF = float("inf")


def entropy_of(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000, 50_000])
def test_uniform_logits_have_the_most_entropy(num_classes: int) -> None:
    entropy = emprune.memory.prediction_entropy(torch.full((2, num_classes), 7.5))
    assert entropy.tolist() == pytest.approx([math.log(num_classes)] * 2)


@pytest.mark.parametrize("gap", [200.0, 1e4, 3e38, INF])
def test_a_certain_prediction_has_none(gap: float) -> None:
    assert emprune.memory.prediction_entropy(torch.tensor([[0.0, -gap, -gap]])).tolist() == [0.0]


@pytest.mark.parametrize(
    "probabilities", [[0.5, 0.25, 0.25], [0.7, 0.2, 0.1], [0.999, 0.0005, 0.0005], [0.5, 0.5, 0.0]]
)
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_known_distributions(probabilities: list[float], offset: float) -> None:
    logits = torch.tensor([probabilities], dtype=torch.float64).log() + offset
    expected = [entropy_of(probabilities)]
    # float32 holds 1e4 to 1e-3; near 0 what is lost is the rounding of a sum of probabilities.
    assert emprune.memory.prediction_entropy(logits).tolist() == pytest.approx(expected, abs=3e-3 if offset else 3e-7)


def test_a_class_masked_out_contributes_nothing() -> None:
    logits = torch.tensor([[1.0, 2.0, -INF, 0.5], [-INF, -INF, 3.0, -INF]])
    entropy = emprune.memory.prediction_entropy(logits)
    assert float(entropy[0]) == pytest.approx(float(emprune.memory.prediction_entropy(logits[:1, [0, 1, 3]])[0]))
    assert float(entropy[1]) == 0.0


def test_large_logits_are_safe() -> None:
    logits = torch.tensor([[1e4, 1e4, -1e4], [1e4, 1e4 - 1, 0.0]])
    expected = [math.log(2), entropy_of([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])]
    assert emprune.memory.prediction_entropy(logits).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_half_precision_logits_lose_nothing_more(dtype: torch.dtype, scale: float) -> None:
    logits = (scale * torch.randn(50, 20, generator=torch.Generator().manual_seed(0))).to(dtype)
    entropy = emprune.memory.prediction_entropy(logits)
    assert entropy.dtype == torch.float32
    assert entropy.tolist() == pytest.approx(
        emprune.memory.prediction_entropy(logits.double()).tolist(), rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=dtype):
        entropy = emprune.memory.prediction_entropy(logits)
    assert entropy.dtype == torch.float32
    assert entropy.equal(emprune.memory.prediction_entropy(logits))


def test_float16_logits_far_apart_do_not_overflow() -> None:
    logits = torch.tensor([[60000.0, -60000.0, 60000.0]], dtype=torch.float16)
    assert emprune.memory.prediction_entropy(logits).tolist() == pytest.approx([math.log(2)])


def test_it_agrees_with_the_definition() -> None:
    logits = 3 * torch.randn(200, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = logits.softmax(-1)
    assert emprune.memory.prediction_entropy(logits).double().allclose(-(p * p.log()).sum(-1), rtol=1e-5)


def sequences() -> Tensor:
    return 2 * torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(2))


def test_a_sequence_has_the_mean_of_its_positions() -> None:
    logits = sequences()
    expected = [sum(emprune.memory.prediction_entropy(row).tolist()) / 4 for row in logits]
    assert emprune.memory.prediction_entropy(logits).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masked_positions_do_not_count(dtype: torch.dtype) -> None:
    logits = sequences()
    logits[0, 3] = torch.nan  # padding may hold anything
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).to(dtype)
    entropy = emprune.memory.prediction_entropy(logits, mask)
    assert float(entropy[0]) == pytest.approx(float(emprune.memory.prediction_entropy(logits[0, :3]).mean()))
    assert float(entropy[1]) == pytest.approx(float(emprune.memory.prediction_entropy(logits[1, :1])[0]))
    assert float(entropy[2]) == 0.0


@pytest.mark.parametrize("chunk", [1, 7, 30, 71, 72, 73])
@pytest.mark.parametrize("masked", [False, True])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int, masked: bool) -> None:
    logits, mask = sequences(), torch.tensor([[1, 1, 1, 0]] * 3) if masked else None
    whole = emprune.memory.prediction_entropy(logits, mask), emprune.memory.prediction_entropy(logits[0])
    monkeypatch.setattr(entropy, "CACHED_ELEMENTS", chunk)
    assert emprune.memory.prediction_entropy(logits, mask).equal(whole[0])
    assert emprune.memory.prediction_entropy(logits[0]).equal(whole[1])


def test_the_logits_are_not_changed() -> None:
    logits = sequences()
    before = logits.clone()
    emprune.memory.prediction_entropy(logits)
    emprune.memory.prediction_entropy(logits[0])
    assert logits.equal(before)


def test_an_empty_batch_is_empty() -> None:
    assert emprune.memory.prediction_entropy(torch.empty(0, 5)).shape == (0,)
    assert emprune.memory.prediction_entropy(torch.empty(0, 4, 5)).shape == (0,)


def pixels(*sizes: int) -> Tensor:
    return 2 * torch.randn(3, 5, *sizes, generator=torch.Generator().manual_seed(3))


def as_tokens(logits: Tensor) -> Tensor:
    """(B, C, ...) as (B, T, C)."""
    return logits.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("sizes", [(4, 6), (2, 4, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_classes_of_pixels_are_dimension_1(sizes: tuple[int, ...], layout: torch.memory_format) -> None:
    if layout == torch.channels_last and len(sizes) == 3:
        layout = torch.channels_last_3d
    logits = pixels(*sizes)
    expected = emprune.memory.prediction_entropy(as_tokens(logits))
    assert emprune.memory.prediction_entropy(logits.contiguous(memory_format=layout)).allclose(expected)


def test_three_dimensions_are_tokens_unless_said_otherwise() -> None:
    logits = pixels(5)  # (B, C, T) or (B, T, C): nothing tells them apart
    tokens, series = emprune.memory.prediction_entropy(logits), emprune.memory.prediction_entropy(logits, class_dim=1)
    assert series.allclose(emprune.memory.prediction_entropy(logits.transpose(1, 2)))
    assert not series.allclose(tokens)
    assert tokens.equal(emprune.memory.prediction_entropy(logits, class_dim=-1))


def test_many_dimensions_may_end_with_the_classes() -> None:
    logits = pixels(4, 6)
    last = emprune.memory.prediction_entropy(logits.movedim(1, -1), class_dim=-1)
    assert last.allclose(emprune.memory.prediction_entropy(logits))


def test_ignored_pixels_do_not_count() -> None:
    logits = pixels(2, 3)
    labels = torch.randint(5, (3, 2, 3), generator=torch.Generator().manual_seed(4))
    labels[0, 1], labels[1] = 255, 255
    logits[0, :, 1], logits[1] = torch.nan, torch.nan
    entropy = emprune.memory.prediction_entropy(emprune.memory.MaskedLogits(logits, labels != 255))
    assert float(entropy[0]) == pytest.approx(float(emprune.memory.prediction_entropy(logits[:1, :, :1])[0]))
    assert float(entropy[1]) == 0.0
    assert float(entropy[2]) == pytest.approx(float(emprune.memory.prediction_entropy(logits[2:])[0]))


def test_masked_logits_say_where_the_classes_are() -> None:
    logits, mask = pixels(4), torch.ones(3, 4)
    series = emprune.memory.prediction_entropy(logits, class_dim=1)
    for masked in (
        emprune.memory.MaskedLogits(logits, mask, class_dim=1),
        emprune.memory.MaskedLogits(logits, class_dim=1),
    ):
        assert emprune.memory.prediction_entropy(masked).allclose(series)
        assert repr(masked).startswith("MaskedLogits((3, 5, 4) torch.float32")


def test_log_probabilities_are_not_normalised_again() -> None:
    logits, mask = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.ones(3, 4).bool()
    logits[0, 0, 2] = -torch.inf
    known = logits.log_softmax(-1)
    before = known.clone()
    masked = emprune.memory.MaskedLogits(known, mask, normalized=True)
    assert repr(masked).endswith(", normalized)")
    torch.testing.assert_close(
        emprune.memory.prediction_entropy(masked), emprune.memory.prediction_entropy(logits, mask)
    )
    assert known.equal(before)


@pytest.mark.parametrize("chunk", [2, 7, 29, 30, 31, 119, 120, 121, 359])
def test_chunks_of_pixels_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    logits = pixels(4, 6)
    whole = emprune.memory.prediction_entropy(logits)
    monkeypatch.setattr(entropy, "CACHED_ELEMENTS", chunk)
    assert emprune.memory.prediction_entropy(logits).allclose(whole)


@pytest.mark.parametrize(
    ("logits", "mask", "parameter", "value"),
    [
        (torch.zeros(4), None, "logits", (4,)),
        (torch.zeros(4, 3, dtype=torch.int64), None, "logits", "torch.int64"),
        (torch.zeros(2, 4, 3, dtype=torch.int64), None, "logits", "torch.int64"),
        (torch.zeros(4, 1), None, "logits", "1 in dimension -1"),
        (torch.zeros(4, 1, 8, 8), None, "logits", "1 in dimension 1"),
        (torch.zeros(4, 3), torch.ones(4), "mask", (4,)),
        (torch.zeros(2, 3, 8, 8), torch.ones(2, 4, 4), "mask", (2, 4, 4)),
        (torch.zeros(2, 4, 3), [[True] * 4] * 2, "mask", "list"),
        (torch.zeros(2, 4, 3), torch.ones(2, 3), "mask", (2, 3)),
        ({"logits": torch.zeros(4, 3)}, None, "logits", "dict"),
    ],
)
def test_other_shapes_are_refused(
    logits: Tensor, mask: Tensor | None, parameter: str, value: Any, raises: Raises
) -> None:
    with raises(emprune.errors.ObservationError, parameter=parameter, value=value):
        emprune.memory.prediction_entropy(logits, mask)


def test_another_dimension_of_the_classes_is_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="class_dim", value=2):
        emprune.memory.prediction_entropy(pixels(4, 6), class_dim=2)  # type: ignore[arg-type]


def test_terms_have_names() -> None:
    assert terms.memory_term("prediction_entropy") is emprune.memory.prediction_entropy
    assert terms.memory_name(emprune.memory.prediction_entropy) == terms.memory_name("prediction_entropy")
    assert terms.memory_name(torch.logsumexp) != terms.memory_name(entropy_of)  # type: ignore[arg-type]
    assert terms.memory_name(entropy_of).endswith("test_memory.entropy_of")  # type: ignore[arg-type]
