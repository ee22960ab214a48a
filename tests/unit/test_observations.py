"""Observing: what is taken in, what is handed back, and what is left alone."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import emprune
from emprune.testing import assert_same_state
from tests.unit.support import after_full_epoch, as_memory, make_pruner, observe

LOSSES = torch.tensor([0.1, 2.0, 0.7, 1.5, 0.05, 3.0, 1.0, 0.4, 2.5, 0.9])


def begun(method: emprune.Method | None = None, **settings: int) -> tuple[emprune.DataPruner, Tensor]:
    pruner = make_pruner(method, **settings)
    return pruner, pruner.begin_epoch(0).index


def test_each_loss_is_remembered_under_its_own_index() -> None:
    pruner, index = begun()
    for part in index.split(2):
        pruner.observe(part, LOSSES[part])
    pruner.sync()
    assert pruner.stats["loss"][index].equal(LOSSES[index])
    assert pruner.stats.seen.nonzero().flatten().tolist() == sorted(index.tolist())
    assert int(pruner.stats["loss"].isnan().count_nonzero()) == 5
    assert pruner.stats["last_visit"][index].tolist() == [0] * 5


def test_an_unvisited_sample_keeps_its_stale_loss() -> None:
    pruner = after_full_epoch(emprune.Greedy(), LOSSES, num_kept=3)
    pruner.begin_epoch(1)
    observe(pruner, torch.zeros(10))
    pruner.sync()
    expected = LOSSES.clone()
    expected[[5, 8, 1]] = 0
    assert pruner.stats["loss"].equal(expected)
    assert pruner.stats["visits"].tolist() == [1, 2, 1, 1, 1, 2, 1, 1, 2, 1]
    assert pruner.stats["last_visit"].tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 1, 0]


def test_a_repeat_within_a_batch_overwrites_too() -> None:
    pruner, index = begun()
    pruner.observe(index[[0, 1, 0]], torch.tensor([1.0, 2.0, 3.0]))
    pruner.sync()
    assert pruner.stats["loss"][index[:2]].tolist() == [3.0, 2.0]
    assert pruner.stats["visits"][index[:2]].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_any_float_dtype_is_remembered_as_it_is(dtype: torch.dtype) -> None:
    pruner, index = begun()
    losses = torch.tensor([0.1, 2.7, 1e-5, 333.3, 0.0]).to(dtype)
    mean = pruner.reduce(index, losses)
    pruner.sync()
    assert pruner.stats["loss"][index].equal(losses.float())
    assert mean.dtype == dtype
    assert float(mean) == pytest.approx(float(losses.double().mean()), rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_and_losses_plan_without_complaint(dtype: torch.dtype) -> None:
    pruner, index = begun(emprune.EMP())
    logits = torch.randn(5, 3).to(dtype)
    losses = F.cross_entropy(logits.float(), torch.zeros(5).long(), reduction="none").to(dtype)
    pruner.reduce(index, losses, logits)
    pruner.sync()
    scores = losses.float() + 3 * emprune.memory.prediction_entropy(logits)
    assert pruner.method.score(pruner.stats)[index].allclose(scores)


def test_the_losses_are_neither_changed_nor_kept() -> None:
    pruner, index = begun(emprune.EMP(memory=as_memory))
    losses, outputs = torch.rand(5), torch.rand(5)
    before, positions = losses.clone(), index.clone()
    pruner.reduce(positions, losses, outputs)
    assert losses.equal(before)
    losses.zero_()
    outputs.zero_()
    positions.zero_()  # a training loop may reuse its buffers
    pruner.sync()
    assert pruner.stats["loss"][index].equal(before)
    assert not bool((pruner.stats["memory"][index] == 0).any())


def test_weighted_losses_are_not_multiplied_in_place() -> None:
    pruner = after_full_epoch(emprune.InfoBatch(), LOSSES, num_kept=5)
    index = pruner.begin_epoch(1).index
    losses = LOSSES[index].clone()
    pruner.reduce(index, losses)
    assert losses.equal(LOSSES[index])
    pruner.sync()
    assert pruner.stats["loss"].equal(LOSSES)  # unweighted


def test_the_loss_is_the_plain_mean_where_no_sample_has_a_weight() -> None:
    pruner, index = begun()
    assert pruner.reduce(index, LOSSES[index]).equal(LOSSES[index].mean())


@pytest.mark.parametrize("normalize", [False, True])
def test_the_loss_and_its_gradient_are_those_of_the_weighted_mean(normalize: bool) -> None:
    pruner = after_full_epoch(emprune.InfoBatch(normalize=normalize), LOSSES, num_kept=5)
    plan = pruner.begin_epoch(1)
    assert plan.weight is not None
    x = torch.randn(10, 4, dtype=torch.float64)
    for batch in (slice(0, 3), slice(3, 5)):
        index, weight = plan.index[batch], plan.weight[batch].double()
        parameter = torch.ones(4, dtype=torch.float64, requires_grad=True)
        reduced = pruner.reduce(index, (x[index] @ parameter).square())
        (gradient,) = torch.autograd.grad(reduced, parameter)
        expected = (weight * (x[index].sum(1)).square()).mean()
        expected_gradient = (weight[:, None] * 2 * x[index].sum(1, keepdim=True) * x[index]).mean(0)
        assert reduced.item() == pytest.approx(expected.item())
        assert gradient.allclose(expected_gradient)


def test_gradients_check_numerically() -> None:
    pruner = after_full_epoch(emprune.InfoBatch(), LOSSES, num_kept=5)
    index = pruner.begin_epoch(1).index
    losses = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: pruner.reduce(index, values.square()), losses)


def test_observing_holds_no_graph() -> None:
    pruner, index = begun(emprune.EMP())
    logits = torch.randn(5, 3, requires_grad=True)
    losses = F.cross_entropy(logits, torch.zeros(5).long(), reduction="none")
    pruner.reduce(index, losses, logits).backward()
    assert logits.grad is not None
    assert not any(values.requires_grad for values in pruner._pending.gather()[1].values())
    pruner.sync()
    assert not pruner.stats["loss"].requires_grad
    assert not pruner.stats["memory"].requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_observing_without_gradients_is_the_same(mode: type[torch.no_grad]) -> None:
    plain, _ = begun(emprune.EMP())
    quiet, index = begun(emprune.EMP())
    logits = torch.randn(5, 3)
    plain.observe(index, LOSSES[index], logits)
    with mode():
        quiet.observe(index.clone(), LOSSES[index].clone(), logits.clone())
    plain.begin_epoch(1)
    quiet.begin_epoch(1)
    assert_same_state(quiet.state_dict(), plain.state_dict())


def test_reduce_without_gradients_returns_the_value() -> None:
    pruner, index = begun()
    with torch.no_grad():
        assert float(pruner.reduce(index, LOSSES[index])) == pytest.approx(float(LOSSES[index].mean()))


def test_score_losses_are_what_the_score_sees() -> None:
    pruner, index = begun()
    smoothed = LOSSES[index] + 1
    reduced = pruner.reduce(index, smoothed, score_losses=LOSSES[index])
    assert reduced.equal(smoothed.mean())
    pruner.sync()
    assert pruner.stats["loss"][index].equal(LOSSES[index])


def test_score_losses_may_be_of_another_dtype() -> None:
    pruner, index = begun()
    reduced = pruner.reduce(index, LOSSES[index].bfloat16(), score_losses=LOSSES[index].double())
    assert reduced.dtype == torch.bfloat16
    pruner.sync()
    assert pruner.stats["loss"][index].equal(LOSSES[index])


def test_outputs_are_ignored_by_methods_that_need_none() -> None:
    pruner, index = begun()
    pruner.observe(index, LOSSES[index], "anything at all")
    pruner.sync()
    assert pruner.stats["loss"][index].equal(LOSSES[index])


def test_an_empty_batch_is_refused_and_is_no_observation() -> None:
    pruner, index = begun()
    with pytest.raises(emprune.errors.ObservationError, match="`index` must hold at least one sample"):
        pruner.observe(index[:0], LOSSES[:0])
    with pytest.raises(emprune.errors.EpochError, match="no observation"):
        pruner.begin_epoch(1)


@pytest.mark.parametrize("name", ["index", "losses", "outputs", "score_losses"])
@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_a_tensor_without_all_its_numbers_is_refused_at_once(name: str, kind: str) -> None:
    pruner, index = begun(emprune.EMP())
    batch: dict[str, Tensor] = {"index": index, "losses": torch.rand(5), "outputs": torch.rand(5, 3)}
    batch = {"score_losses": torch.rand(5), **batch}
    batch[name] = batch[name].to_sparse() if kind == "sparse" else batch[name].to("meta")
    with pytest.raises(emprune.errors.ObservationError, match=f"`{name}` must be a dense tensor; got a {kind} tensor"):
        pruner.observe(**batch)
    assert pruner.num_observed == 0
    pruner.sync()
    pruner.state_dict()


def test_weights_follow_the_index() -> None:
    pruner = after_full_epoch(emprune.InfoBatch(), LOSSES, num_kept=5)
    plan = pruner.begin_epoch(1)
    assert plan.weight is not None
    order = torch.tensor([4, 2, 0, 1, 3])
    assert pruner.weights(plan.index[order]).equal(plan.weight[order])
    assert pruner.weights(plan.index[order]).dtype == torch.float32


def test_visits_count_epochs_and_include_what_is_pending() -> None:
    pruner, index = begun()
    assert pruner.visits.tolist() == [0] * 10
    pruner.observe(index[:2], LOSSES[:2])
    assert pruner.visits[index[:2]].tolist() == [1, 1]
    pruner.sync()
    pruner.observe(index[:3], LOSSES[:3])  # two of them again
    assert pruner.visits[index].tolist() == [1, 1, 1, 0, 0]
    pruner.begin_epoch(1)
    assert pruner.visits[index].tolist() == [1, 1, 1, 0, 0]
    assert int(pruner.visits.sum()) == 3
    assert pruner.stats["visits"].equal(pruner.visits)


@pytest.fixture
def meta_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the meta device stand for a GPU: it computes nothing, and reading from it fails."""
    for module in ("engine.observations", "pruner"):
        monkeypatch.setattr(f"emprune.{module}.check_plain", lambda *_: None)


@pytest.mark.usefixtures("meta_is_a_device")
@pytest.mark.parametrize("method", [emprune.Greedy(), emprune.EMP()], ids=["greedy", "emp"])
def test_nothing_is_read_back_from_the_device_in_a_step(method: emprune.Method) -> None:
    """Tensors on the meta device have no values: whatever read one, or moved it to the host, would fail."""
    pruner, index = begun(method)
    losses = torch.rand(5, device="meta", requires_grad=True)
    reduced = pruner.reduce(index.to("meta"), losses, torch.randn(5, 3, device="meta"))
    reduced.backward()
    assert reduced.device.type == "meta"
    assert losses.grad is not None


@pytest.mark.usefixtures("meta_is_a_device")
def test_nor_where_samples_have_weights() -> None:
    pruner = after_full_epoch(emprune.InfoBatch(), LOSSES, num_kept=5)
    index = pruner.begin_epoch(1).index
    assert pruner.reduce(index, torch.rand(5, device="meta")).device.type == "meta"
    assert pruner.reduce(index.to("meta"), torch.rand(5, device="meta")).device.type == "meta"
    assert pruner.weights(index.to("meta")).device.type == "meta"


def test_the_weights_go_to_a_device_once() -> None:
    pruner = after_full_epoch(emprune.InfoBatch(), LOSSES, num_kept=5)
    index = pruner.begin_epoch(1).index.to("meta")
    pruner.weights(index)
    assert pruner._current is not None
    moved = pruner._current._weight_on[index.device]
    pruner.weights(index)
    assert pruner._current._weight_on[index.device] is moved


@pytest.mark.parametrize(
    ("stray", "message"),
    [(99, r"must be in \[0, 10\).*got 99"), (-1, "got -1"), (None, "must be in this epoch's plan")],
)
def test_indices_on_a_device_are_checked_when_they_are_folded(
    stray: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emprune.engine.observations.check_planned", lambda *_: None)  # as for an index on a device
    pruner, index = begun()
    missing = next(i for i in range(10) if i not in index.tolist())
    wrong = torch.tensor([int(index[0]), missing if stray is None else stray])
    pruner.observe(wrong, torch.ones(2))
    before = pruner.stats.state_dict()
    for fold in (pruner.sync, lambda: pruner.begin_epoch(1)):
        with pytest.raises(emprune.errors.ObservationError, match=message):
            fold()
    assert_same_state(pruner.stats.state_dict(), before)
    assert pruner.epoch == 0


def constant(outputs: Tensor, *, memory: Any) -> Any:
    return memory


@pytest.mark.parametrize("memory", [0.5, None])
def test_a_memory_term_must_be_a_tensor(memory: Any) -> None:
    pruner, index = begun(emprune.EMP(memory=partial(constant, memory=memory)))
    with pytest.raises(emprune.errors.ObservationError, match=rf"'memory' must be a \(B,\) tensor; got {memory}"):
        pruner.observe(index[:2], LOSSES[:2], LOSSES[:2])


def test_a_method_must_measure_the_same_in_every_batch() -> None:
    class Moody(emprune.Greedy):
        def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
            return {outputs: losses}

    pruner, index = begun(Moody())
    pruner.observe(index[:2], LOSSES[:2], "memory")
    with pytest.raises(
        emprune.errors.ObservationError, match="Every batch must be measured in the same quantities, .* got"
    ):
        pruner.observe(index[2:], LOSSES[2:5], "margin")
    assert pruner.num_observed == 2
