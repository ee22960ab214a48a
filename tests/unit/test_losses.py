import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from emprune import losses as module
from emprune.losses import dense_cross_entropy, next_labels, sequence_cross_entropy
from tests.messages import Raises
from tests.unit.support import inf, nan

LOG2, LOG4 = math.log(2), math.log(4)


def random_sequences(seed: int, *, batch: int = 5, length: int = 7, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, length, classes, generator=generator)
    labels = torch.randint(classes, (batch, length), generator=generator)
    return logits, labels.masked_fill(torch.rand(batch, length, generator=generator) < 0.4, -100)


def one_by_one(logits: Tensor, labels: Tensor, *, shift: bool = False, label_smoothing: float = 0.0) -> list[float]:
    """The slow, obvious twin: a sample at a time, its labels a token at a time."""
    found = []
    for sample, targets in zip(logits.double(), labels.tolist(), strict=True):
        tokens = list(zip(sample[:-1], targets[1:], strict=True) if shift else zip(sample, targets, strict=True))
        each = []
        for token, target in tokens:
            if target != -100:
                log_p = (token - token.logsumexp(0)).tolist()
                smooth = -sum(log_p) / len(log_p)
                each.append(-(1 - label_smoothing) * log_p[target] + label_smoothing * smooth)
        found.append(sum(each) / max(1, len(each)))
    return found


def test_golden_values_of_a_classification() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [0.0, math.log(3)]])
    losses = sequence_cross_entropy(logits, torch.tensor([1, 1, 0]))
    assert losses.tolist() == pytest.approx([LOG2, math.log(4 / 3), LOG4])


def test_golden_values_of_tokens() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)], [5.0, 1.0]], [[0.0, 0.0], [nan, inf], [7.0, 1.0]]])
    labels = torch.tensor([[0, 0, -100], [-100, -100, -100]])
    assert sequence_cross_entropy(logits, labels).tolist() == pytest.approx([(LOG2 + LOG4) / 2, 0])
    assert sequence_cross_entropy(logits, labels, reduction="sum").tolist() == pytest.approx([LOG2 + LOG4, 0])


def test_golden_values_of_a_causal_language_model() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [9.0, -9.0]]])
    labels = torch.tensor([[1, 0, 1]])
    assert sequence_cross_entropy(logits, labels, shift=True).tolist() == pytest.approx([(LOG4 + LOG2) / 2])
    assert next_labels(labels).tolist() == [[0, 1, -100]]
    assert next_labels(labels, ignore_index=-1).tolist() == [[0, 1, -1]]
    assert labels.tolist() == [[1, 0, 1]]


@given(seed=st.integers(0, 2**32), shift=st.booleans(), label_smoothing=st.sampled_from([0.0, 0.1, 1.0]))
def test_it_is_the_obvious_twin(seed: int, shift: bool, label_smoothing: float) -> None:
    logits, labels = random_sequences(seed)
    found = sequence_cross_entropy(logits, labels, shift=shift, label_smoothing=label_smoothing)
    expected = one_by_one(logits, labels, shift=shift, label_smoothing=label_smoothing)
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(seed=st.integers(0, 2**32))
def test_samples_do_not_see_each_other_and_padding_does_not_count(seed: int) -> None:
    logits, labels = random_sequences(seed)
    whole = sequence_cross_entropy(logits, labels)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(sequence_cross_entropy(logits[order], labels[order]), whole[order])
    alone = torch.cat([sequence_cross_entropy(logits[i : i + 1], labels[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, whole)
    longer = torch.cat([logits, torch.full((5, 3, 4), nan)], dim=1)
    torch.testing.assert_close(sequence_cross_entropy(longer, F.pad(labels, (0, 3), value=-100)), whole)
    assert bool((whole >= 0).all())


@given(seed=st.integers(0, 2**32), shift=st.booleans())
def test_the_sum_over_the_counted_is_the_loss_of_the_batch(seed: int, shift: bool) -> None:
    logits, labels = random_sequences(seed)
    total = sequence_cross_entropy(logits, labels, shift=shift, reduction="sum").sum()
    targets = next_labels(labels) if shift else labels
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_is_computed_in_float32_or_better(dtype: torch.dtype) -> None:
    logits, labels = random_sequences(0)
    logits = (10 * logits).to(dtype)
    found = sequence_cross_entropy(logits, labels)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.tolist() == pytest.approx(one_by_one(logits, labels), rel=1e-5)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[60000.0, -60000.0], [20.0, 0.0]], dtype=torch.float16)
    assert sequence_cross_entropy(logits, torch.tensor([1, 0])).tolist() == pytest.approx([120000, 0], abs=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_chunks_change_neither_the_losses_nor_the_gradient(
    monkeypatch: pytest.MonkeyPatch, label_smoothing: float
) -> None:
    logits, labels = random_sequences(1)
    weights = torch.arange(1.0, 6.0)

    def losses_and_gradient() -> tuple[Tensor, Tensor]:
        leaf = logits.clone().requires_grad_()
        losses = sequence_cross_entropy(leaf, labels, label_smoothing=label_smoothing)
        return losses.detach(), torch.autograd.grad((weights * losses).sum(), leaf)[0]

    whole = losses_and_gradient()
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 13)  # three tokens, of thirty-five
    assert all(map(torch.equal, whole, losses_and_gradient()))
    assert not bool(whole[1][labels == -100].any())


def test_chunks_keep_no_logits_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 8)
    logits, labels = random_sequences(1)
    leaf = logits.bfloat16().requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor), lambda _: torch.empty(0)):
        sequence_cross_entropy(leaf, labels)
    assert not any(tensor.dtype == torch.float32 and tensor.shape[-1:] == (4,) for tensor in kept)


@pytest.mark.parametrize(
    ("logits", "labels", "options", "parameter", "value"),
    [
        ([1.0], torch.tensor([0]), {}, "logits", "list"),
        (torch.zeros(2, 3), [0, 1], {}, "labels", "list"),
        (torch.zeros(2), torch.tensor([0, 1]), {}, "logits", (2,)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4).long(), {}, "logits", (2, 3, 4, 4)),
        (torch.zeros(2, 3), torch.tensor([0, 1]).byte(), {}, "labels", "torch.uint8"),
        (torch.zeros(2, 3).long(), torch.tensor([0, 1]), {}, "logits", "torch.int64"),
        (torch.zeros(2, 0), torch.tensor([0, 1]), {}, "logits", (2, 0)),
        (torch.zeros(2, 3), torch.tensor([0, 1, 2]), {}, "labels", (3,)),
        (torch.zeros(2, 3), torch.zeros(2, 3), {}, "labels", "torch.float32"),
        (torch.zeros(2, 4, 3), torch.zeros(2, 3).long(), {}, "labels", (2, 3)),
        (torch.zeros(2, 3), torch.tensor([0, 1]), {"shift": True}, "shift", (2, 3)),
    ],
)
def test_malformed_arguments_are_refused(
    logits: Any, labels: Any, options: dict[str, Any], parameter: str, value: Any, raises: Raises
) -> None:
    with raises(emprune.errors.ObservationError, parameter=parameter, value=value):
        sequence_cross_entropy(logits, labels, **options)


@pytest.mark.parametrize(
    ("parameter", "value"), [("reduction", "none"), ("label_smoothing", 1.5), ("label_smoothing", nan)]
)
def test_options_out_of_range_are_refused(parameter: str, value: Any, raises: Raises) -> None:
    options: dict[str, Any] = {parameter: value}
    with raises(emprune.ConfigError, parameter=parameter, value=value):
        sequence_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), **options)


def random_masks(seed: int, *sizes: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, classes, *sizes, generator=generator)
    labels = torch.randint(classes, (5, *sizes), generator=generator)
    return logits, labels.masked_fill(torch.rand(5, *sizes, generator=generator) < 0.4, 255)


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    label_smoothing=st.sampled_from([0.0, 0.1]),
)
def test_a_dense_loss_is_that_of_its_predictions_as_tokens(seed: int, sizes: list[int], label_smoothing: float) -> None:
    logits, labels = random_masks(seed, *sizes)
    tokens = logits.flatten(2).transpose(1, 2), labels.flatten(1).where(labels.flatten(1) != 255, -100)
    found = dense_cross_entropy(logits, labels, ignore_index=255, label_smoothing=label_smoothing)
    torch.testing.assert_close(found, sequence_cross_entropy(*tokens, label_smoothing=label_smoothing))
    total = dense_cross_entropy(logits, labels, ignore_index=255, reduction="sum").sum()
    torch.testing.assert_close(total, F.cross_entropy(logits, labels, ignore_index=255, reduction="sum"))


def test_chunks_change_neither_a_dense_loss_nor_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = random_masks(1, 4, 6)

    def losses_and_gradient() -> tuple[Tensor, Tensor]:
        leaf = logits.clone().requires_grad_()
        losses = dense_cross_entropy(leaf, labels, ignore_index=255)
        return losses.detach(), torch.autograd.grad(losses.square().sum(), leaf)[0]

    whole = losses_and_gradient()
    for chunk in (1, 200):
        monkeypatch.setattr(module, "_CHUNK_ELEMENTS", chunk)
        for before, after in zip(whole, losses_and_gradient(), strict=True):
            torch.testing.assert_close(before, after)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_log_probabilities_are_not_normalised_again(reduction: Any, label_smoothing: float) -> None:
    logits, labels = random_sequences(4)
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": label_smoothing}
    for sequence, classes in ((logits, labels), (logits[:, 0], labels[:, 0])):
        expected = sequence_cross_entropy(sequence, classes, **options)
        found = sequence_cross_entropy(sequence.log_softmax(-1), classes, normalized=True, **options)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("logits", "labels", "parameter", "value"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 1]), "logits", (2, 3)),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 4).long(), "labels", (2, 4, 4)),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8).byte(), "labels", "torch.uint8"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), "labels", "torch.float32"),
    ],
)
def test_malformed_dense_arguments_are_refused(
    logits: Tensor, labels: Tensor, parameter: str, value: Any, raises: Raises
) -> None:
    with raises(emprune.errors.ObservationError, parameter=parameter, value=value):
        dense_cross_entropy(logits, labels)


@pytest.mark.parametrize("sizes", [(6, 4), (2, 3, 4)])
def test_emp_takes_dense_logits_as_they_are(sizes: tuple[int, ...]) -> None:
    logits, labels = random_masks(5, *sizes)
    masked = emprune.memory.MaskedLogits(logits, labels != 255)
    for outputs in (logits, masked):
        pruner = emprune.DataPruner(emprune.EMP(), num_samples=5, num_epochs=1, keep=1)
        index = pruner.begin_epoch(0).index
        pruner.reduce(index, dense_cross_entropy(logits, labels, ignore_index=255), outputs)
        pruner.sync()
        assert pruner.stats["memory"][index].equal(emprune.memory.prediction_entropy(outputs))


def test_emp_takes_series_where_the_term_says_so() -> None:
    logits, labels = random_masks(6, 8)
    series = partial(emprune.memory.prediction_entropy, class_dim=1)
    pruner = emprune.DataPruner(emprune.EMP(memory=series), num_samples=5, num_epochs=1, keep=1)
    index = pruner.begin_epoch(0).index
    pruner.reduce(index, dense_cross_entropy(logits, labels, ignore_index=255), logits)
    pruner.sync()
    assert pruner.stats["memory"][index].allclose(emprune.memory.prediction_entropy(logits.transpose(1, 2)))


def test_masked_logits_bring_their_mask_to_the_memory_term() -> None:
    logits, labels = random_sequences(3)
    masked = emprune.memory.MaskedLogits(logits, labels != -100)
    assert masked.shape == logits.shape
    assert emprune.memory.prediction_entropy(masked).equal(emprune.memory.prediction_entropy(logits, labels != -100))
    pruner = emprune.DataPruner(emprune.EMP(), num_samples=5, num_epochs=1, keep=1)
    index = pruner.begin_epoch(0).index
    pruner.reduce(index, sequence_cross_entropy(logits, labels), masked)
    pruner.sync()
    assert pruner.stats["memory"][index].equal(emprune.memory.prediction_entropy(masked))
