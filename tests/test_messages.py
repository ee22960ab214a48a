"""What is refused, and how: each names its parameter and value, and nothing has changed after any of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import emprune
from emprune.testing import assert_same_state, through_disk
from tests.messages import ANY, Raises

LOSSES = torch.tensor([0.5, 1.0, 2.0, 0.25, 4.0])


def pruner_of(method: emprune.Method | None = None, **changes: Any) -> emprune.DataPruner:
    settings = {"num_samples": 10, "num_epochs": 4, "keep": 0.5, "seed": 0, **changes}
    return emprune.DataPruner(method or emprune.Greedy(), **settings)


BAD_SETTINGS: dict[str, tuple[Callable[[], object], str | None, Any]] = {
    "keep above 1": (lambda: pruner_of(keep=30), "keep", 30),
    "keep not given": (lambda: pruner_of(keep=None), "keep", None),
    "no epochs": (lambda: pruner_of(num_epochs=0), "num_epochs", 0),
    "no samples": (lambda: pruner_of(num_samples=0), "num_samples", 0),
    "warm-up and tail beyond the budget": (
        lambda: pruner_of(num_epochs=10, warmup_epochs=2, tail_epochs=3),
        "keep", 0.5,
    ),
    "less than a sample per epoch": (lambda: pruner_of(keep=0.01), "keep", 0.01),
    "a method that is a class": (
        lambda: pruner_of(emprune.Greedy),  # type: ignore[arg-type]
        "method", "<class 'emprune.methods.greedy.Greedy'>",
    ),
    "a seed that is none": (lambda: pruner_of(seed=0.5), "seed", 0.5),
    "beta that is not finite": (lambda: emprune.EMP(beta=float("inf")), "beta", "inf"),
    "a pool below 1": (lambda: emprune.EMP(pool=0.5), "pool", 0.5),
    "a pool smaller than the epoch": (lambda: emprune.methods.OrderDP(pool=0.9), "pool", 0.9),
    "weights of an unknown kind": (
        lambda: emprune.methods.SoftSelection(by="loss"),  # type: ignore[arg-type]
        "by", "loss",
    ),
    "a strength below random": (lambda: emprune.methods.SoftSelection(strength=-1), "strength", -1),
    "irreducible losses that are a list": (
        lambda: emprune.methods.ReducibleLoss([0.1, 0.2]),  # type: ignore[arg-type]
        "irreducible", "list",
    ),
    "irreducible losses with holes": (
        lambda: emprune.methods.ReducibleLoss(torch.tensor([0.1, torch.inf])),
        "irreducible", "NaN or infinite values",
    ),
    "irreducible losses of another dataset": (
        lambda: pruner_of(emprune.methods.ReducibleLoss(torch.rand(9))),
        "irreducible", 9,
    ),
    "a confidence that two classes can have": (lambda: emprune.methods.Kakurenbo(confidence=0.5), "confidence", 0.5),
    "no groups": (lambda: emprune.methods.SeTa(num_groups=0), "num_groups", 0),
    "a window of nothing": (lambda: emprune.methods.SeTa(window=0), "window", 0),
    "a run that is all end": (lambda: emprune.methods.SeTa(delta=0), "delta", 0),
    "an unknown memory term": (lambda: emprune.EMP(memory="entropy"), "memory", "entropy"),  # type: ignore[arg-type]
    "epsilon above 1": (lambda: emprune.methods.EpsilonGreedy(epsilon=1.5), "epsilon", 1.5),
    "a newest loss that weighs nothing": (lambda: emprune.methods.EpsilonGreedy(alpha=0), "alpha", 0),
    "and the bandit's": (lambda: emprune.methods.UCB(alpha=1.1), "alpha", 1.1),
    "a variance that counts against": (lambda: emprune.methods.UCB(c=-1), "c", -1),
    "a tail that is the whole run": (lambda: emprune.InfoBatch(delta=0), "delta", 0),
    "a ranking of integers": (lambda: emprune.methods.StaticSubset(torch.arange(3)), "ranking", "(3,) torch.int64"),
    "a ranking that is a list": (
        lambda: emprune.methods.StaticSubset([0.1, 0.2]),  # type: ignore[arg-type]
        "ranking", "list",
    ),
    "a ranking with holes": (
        lambda: emprune.methods.StaticSubset(torch.tensor([0.1, torch.nan])),
        "ranking", "NaN or infinite values",
    ),
    "no epochs between selections": (lambda: emprune.methods.UCB(replan_every=0), "replan_every", 0),
    "full at a keep": (lambda: pruner_of(emprune.Full()), "keep", 0.5),
    "a ranking of another dataset": (lambda: pruner_of(emprune.methods.StaticSubset(torch.rand(9))), "ranking", 9),
    "an unknown method": (lambda: emprune.methods.make_method("epm"), None, "epm"),
    "an unknown option": (lambda: emprune.methods.make_method("ucb", beta=1), None, "beta"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "parameter", "value"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings(make: Callable[[], object], parameter: str | None, value: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter=parameter, value=value):
        make()


BAD_LOSSES: dict[str, tuple[Callable[[torch.Tensor], tuple[Any, ...]], str | None, Any]] = {
    "a mean": (lambda index: (index, LOSSES.mean()), "losses", "a scalar"),
    "a loss per token": (lambda index: (index, LOSSES.repeat(7, 1).T), "losses", "(5, 7)"),
    "integers": (lambda index: (index, LOSSES.long()), "losses", "torch.int64"),
    "a list": (lambda index: (index, LOSSES.tolist()), "losses", "list"),
    "too few": (lambda index: (index, LOSSES[:4]), "index", "5 indices and 4 losses"),
    "a forgotten index": (lambda index: (LOSSES, torch.randn(5, 3)), "index", "(5,) torch.float32"),
    "the index behind the losses": (lambda index: (LOSSES, index), "index", "(5,) torch.float32"),
    "an int32 index": (lambda index: (index.int(), LOSSES), "index", "(5,) torch.int32"),
    "an index that is a list": (lambda index: (index.tolist(), LOSSES), "index", "list"),
    "an index with a column": (lambda index: (index[:, None], LOSSES), "index", "(5, 1) torch.int64"),
    "out of range": (lambda index: (torch.tensor([10]), LOSSES[:1]), "index", 10),
    "negative": (lambda index: (torch.tensor([int(index[0]), -1]), LOSSES[:2]), "index", -1),
    "not planned": (lambda index: (not_planned(index)[:3], LOSSES[:3]), "index", "2 more"),
    "no outputs": (lambda index: (index, LOSSES), None, ANY),
    "outputs of another batch": (lambda index: (index, LOSSES, torch.randn(4, 3)), "outputs", "(4,)"),
    "outputs that are no logits": (
        lambda index: (index, LOSSES, torch.zeros(5)),
        "logits", "(5,)",
    ),
    "outputs in a dictionary": (lambda index: (index, LOSSES, {"logits": torch.randn(5, 3)}), "logits", "dict"),
}  # fmt: skip


def not_planned(index: torch.Tensor) -> torch.Tensor:
    return torch.tensor(sorted(set(range(10)) - set(index.tolist())))


@pytest.mark.parametrize("verb", ["observe", "reduce"])
@pytest.mark.parametrize(("arguments", "parameter", "value"), BAD_LOSSES.values(), ids=BAD_LOSSES)
def test_observations(
    arguments: Callable[[torch.Tensor], tuple[Any, ...]], parameter: str | None, value: Any, verb: str, raises: Raises
) -> None:
    pruner = pruner_of(emprune.EMP())
    index = pruner.begin_epoch(0).index
    pruner.observe(index[:2], LOSSES[:2], torch.randn(2, 3))
    before = through_disk(pruner.state_dict())
    with raises(emprune.errors.ObservationError, parameter=parameter, value=value):
        getattr(pruner, verb)(*arguments(index))
    assert_same_state(pruner.state_dict(), before)


def test_score_losses_by_their_own_name(raises: Raises) -> None:
    pruner = pruner_of()
    index = pruner.begin_epoch(0).index
    before = through_disk(pruner.state_dict())
    with raises(emprune.errors.ObservationError, parameter="score_losses", value="a scalar"):
        pruner.reduce(index, LOSSES, score_losses=LOSSES.mean())
    assert_same_state(pruner.state_dict(), before)


def test_nan(raises: Raises) -> None:
    pruner = pruner_of()
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.tensor([0.5, torch.nan, 2.0, 0.25, torch.inf]))
    before = through_disk(pruner.state_dict())
    with raises(emprune.errors.ObservationError, value=f"{int(index[1])}, {int(index[4])}"):
        pruner.begin_epoch(1)
    assert_same_state(pruner.state_dict(), before)


EPOCHS: dict[str, tuple[Callable[[emprune.DataPruner], object], str | None, Any]] = {
    "observing before the first": (lambda fresh: fresh.observe(torch.tensor([0]), LOSSES[:1]), None, ANY),
    "reducing before the first": (lambda fresh: fresh.reduce(torch.tensor([0]), LOSSES[:1]), None, ANY),
    "weights before the first": (lambda fresh: fresh.weights(torch.tensor([0])), None, ANY),
    "starting late": (lambda fresh: fresh.begin_epoch(2), None, 2),
    "a forgotten reduce": (lambda fresh: [fresh.begin_epoch(epoch) for epoch in (0, 1)], None, ANY),
}  # fmt: skip


@pytest.mark.parametrize(("act", "parameter", "value"), EPOCHS.values(), ids=EPOCHS)
def test_epochs(act: Callable[[emprune.DataPruner], object], parameter: str | None, value: Any, raises: Raises) -> None:
    pruner, twin = pruner_of(), pruner_of()
    with raises(emprune.errors.EpochError, parameter=parameter, value=value):
        act(pruner)
    if pruner.epoch == 0:
        twin.begin_epoch(0)
    assert_same_state(pruner.state_dict(), twin.state_dict())


def test_epochs_out_of_order(raises: Raises) -> None:
    pruner = pruner_of(emprune.Random())
    pruner.begin_epoch(0)
    pruner.begin_epoch(1)
    before = through_disk(pruner.state_dict())
    for epoch in (0, 3):
        with raises(emprune.errors.EpochError, value=epoch):
            pruner.begin_epoch(epoch)
        assert_same_state(pruner.state_dict(), before)


STATES: dict[str, tuple[Callable[[], Any], str | None, Any]] = {
    "another method": (lambda: pruner_of(emprune.Random()).state_dict(), "method", "random"),
    "another dataset": (lambda: pruner_of(num_samples=11).state_dict(), "num_samples", 11),
    "another seed": (lambda: pruner_of(seed=1).state_dict(), "seed", 1),
    "another version": (lambda: {**pruner_of().state_dict(), "format_version": 99}, None, 99),
    "another thing": (
        lambda: torch.nn.Linear(2, 2).state_dict(),
        "format_version", "['bias', 'weight']",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "parameter", "value"), STATES.values(), ids=STATES)
def test_states(state: Callable[[], Any], parameter: str | None, value: Any, raises: Raises) -> None:
    pruner = pruner_of()
    pruner.observe(pruner.begin_epoch(0).index, LOSSES)
    before = through_disk(pruner.state_dict())
    with raises(emprune.errors.StateError, parameter=parameter, value=value):
        pruner.load_state_dict(state())
    assert_same_state(pruner.state_dict(), before)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


DATASET: Dataset[Any] = TensorDataset(torch.arange(10.0))

LOADERS: dict[str, tuple[Callable[[], DataLoader[Any]], str | None, Any]] = {
    "a stream": (lambda: DataLoader(Stream(), batch_size=2), None, "IterableDataset"),
    "no batches": (lambda: DataLoader(DATASET, batch_size=None), None, "None"),
    "a sampler of one's own": (
        lambda: DataLoader(DATASET, batch_size=2, sampler=WeightedRandomSampler([1.0] * 7, 10)),
        None, "WeightedRandomSampler",
    ),
    "another dataset": (lambda: DataLoader(TensorDataset(torch.arange(9.0)), batch_size=2), None, 9),
}  # fmt: skip


@pytest.mark.parametrize(("make", "parameter", "value"), LOADERS.values(), ids=LOADERS)
def test_loaders(make: Callable[[], DataLoader[Any]], parameter: str | None, value: Any, raises: Raises) -> None:
    pruner = pruner_of()
    with raises(emprune.ConfigError, parameter=parameter, value=value):
        emprune.PrunedLoader(make(), pruner)
    assert_same_state(pruner.state_dict(), pruner_of().state_dict())


def test_iterating_before_set_epoch(raises: Raises) -> None:
    pruner = pruner_of()
    loader = emprune.PrunedLoader(DataLoader(DATASET, batch_size=2), pruner)
    with raises(emprune.errors.EpochError, value="no epoch"):
        next(iter(loader))
    assert pruner.epoch == -1


def test_every_error_is_one_of_ours_and_of_pythons() -> None:
    for error, builtin in (
        (emprune.ConfigError, ValueError),
        (emprune.errors.ObservationError, ValueError),
        (emprune.errors.StateError, ValueError),
        (emprune.errors.EpochError, RuntimeError),
        (emprune.errors.MethodError, RuntimeError),
        (emprune.errors.RankError, RuntimeError),
    ):
        assert issubclass(error, emprune.EmpruneError)
        assert issubclass(error, builtin)
