"""Error messages as a reader sees them, word for word; and nothing has changed after any of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import emprune
from emprune.testing import assert_same_state, through_disk

LOSSES = torch.tensor([0.5, 1.0, 2.0, 0.25, 4.0])


def pruner_of(method: emprune.Method | None = None, **changes: Any) -> emprune.DataPruner:
    settings = {"num_samples": 10, "num_epochs": 4, "keep": 0.5, "seed": 0, **changes}
    return emprune.DataPruner(method or emprune.Greedy(), **settings)


BAD_SETTINGS: dict[str, tuple[Callable[[], object], str]] = {
    "keep above 1": (
        lambda: pruner_of(keep=30),
        "`keep` must be in (0, 1], the mean fraction of the dataset visited per epoch: got keep=30. "
        "A pruning rate of 70 % is keep=0.3.",
    ),
    "keep not given": (
        lambda: pruner_of(keep=None),
        "greedy needs `keep` in (0, 1]: got keep=None, which only InfoBatch's paper form has.",
    ),
    "no epochs": (
        lambda: pruner_of(num_epochs=0),
        "`num_epochs` must be an integer of at least 1, the length of the run: got num_epochs=0.",
    ),
    "no samples": (
        lambda: pruner_of(num_samples=0),
        "`num_samples` must be an integer of at least 1, the length of the dataset: got num_samples=0.",
    ),
    "warm-up and tail beyond the budget": (
        lambda: pruner_of(num_epochs=10, warmup_fraction=0.4, tail_fraction=0.6),
        "The budget cannot be met: `keep`=0.5 over 10 epochs of 10 samples is 50 visits, and 5 full epochs (warm-up "
        "and tail) leave 0 for 5 pruned epochs. At this keep at most 4 full epochs fit: lower `warmup_fraction` or "
        "`tail_fraction`.",
    ),
    "a tail too short to be one": (
        lambda: pruner_of(tail_fraction=0.1),
        "`tail_fraction`=0.1 of 2 full-data epochs' worth of visits is 0.2 epochs, less than half of one. "
        "Use tail_fraction=0, or at least 0.25.",
    ),
    "a tail that is all": (
        lambda: pruner_of(tail_fraction=1.0),
        "`tail_fraction` must be in [0, 1), a share of the run's visits: got tail_fraction=1.0.",
    ),
    "less than a sample per epoch": (
        lambda: pruner_of(keep=0.01),
        "The budget cannot be met: `keep`=0.01 over 4 epochs of 10 samples is 0 visits, and 0 full epochs (warm-up and "
        "tail) leave 0 for 4 pruned epochs. Each must visit at least 1: raise `keep` to 1/10 or more.",
    ),
    "a method that is a class": (
        lambda: pruner_of(emprune.Greedy),  # type: ignore[arg-type]
        "`method` must be a Method such as emprune.EMP(): got <class 'emprune.methods.greedy.Greedy'>. "
        "Did you forget the ()?",
    ),
    "a seed that is none": (lambda: pruner_of(seed=0.5), "`seed` must be an integer: got seed=0.5."),
    "beta that is not finite": (
        lambda: emprune.EMP(beta=float("inf")),
        "`beta` must be finite and at least 0, the memory term's weight: got beta=inf. 0 is the loss alone.",
    ),
    "a pool below 1": (
        lambda: emprune.EMP(pool=0.5),
        "`pool` must be at least 1, candidates per kept sample, or None for top-K over all: got pool=0.5.",
    ),
    "an unknown memory term": (
        lambda: emprune.EMP(memory="entropy"),
        "Unknown `memory` 'entropy'; there are prediction_entropy, instance_entropy, view_alignment, or pass a "
        "function.",
    ),
    "epsilon above 1": (
        lambda: emprune.methods.EpsilonGreedy(epsilon=1.5),
        "`epsilon` must be in [0, 1], the random share of an epoch: got epsilon=1.5.",
    ),
    "a newest loss that weighs nothing": (
        lambda: emprune.methods.EpsilonGreedy(alpha=0),
        "`alpha` must be in (0, 1], the newest loss's weight: got alpha=0.",
    ),
    "and the bandit's": (
        lambda: emprune.methods.UCB(alpha=1.1),
        "`alpha` must be in (0, 1], the newest loss's weight: got alpha=1.1.",
    ),
    "a variance that counts against": (
        lambda: emprune.methods.UCB(c=-1),
        "`c` must be finite and at least 0, the variance's weight: got c=-1.",
    ),
    "a prune ratio of everything": (
        lambda: emprune.InfoBatch(prune_ratio=1),
        "`prune_ratio` must be in (0, 1), the share of well-learned samples that is pruned, or None for the exact "
        "form: got prune_ratio=1.",
    ),
    "a tail that is the whole run": (
        lambda: emprune.InfoBatch(delta=0),
        "`delta` must be in (0, 1], the share of epochs before the tail: got 0.",
    ),
    "a ranking of integers": (
        lambda: emprune.methods.StaticSubset(torch.arange(3)),
        "`ranking` must be a float tensor of shape (N,): got (3,) torch.int64.",
    ),
    "a ranking that is a list": (
        lambda: emprune.methods.StaticSubset([0.1, 0.2]),  # type: ignore[arg-type]
        "`ranking` must be a float tensor of shape (N,): got list.",
    ),
    "a ranking with holes": (
        lambda: emprune.methods.StaticSubset(torch.tensor([0.1, torch.nan])),
        "`ranking` must be finite: got NaN or infinite values. Rank those samples explicitly.",
    ),
    "no epochs between selections": (
        lambda: emprune.methods.UCB(replan_every=0),
        "`replan_every` must be an integer of at least 1, in epochs: got replan_every=0.",
    ),
    "both forms of infobatch": (
        lambda: pruner_of(emprune.InfoBatch(prune_ratio=0.5)),
        "InfoBatch takes either `keep` (exact form: the cost is planned) or `prune_ratio` with keep=None (paper form: "
        "the cost follows from the losses), not both and not neither: got keep=0.5, prune_ratio=0.5.",
    ),
    "full at a keep": (
        lambda: pruner_of(emprune.Full()),
        "Full visits everything, so `keep` must be 1: got keep=0.5. To prune, choose another method.",
    ),
    "a ranking of another dataset": (
        lambda: pruner_of(emprune.methods.StaticSubset(torch.rand(9))),
        "`ranking` must have one value per sample: got 9, num_samples=10.",
    ),
    "an unknown method": (
        lambda: emprune.methods.make_method("epm"),
        "Unknown method 'epm'; there are full, random, random-permutation, static-random, static-subset, greedy, "
        "epsilon-greedy, ucb, infobatch, emp. Did you mean 'emp'?",
    ),
    "an unknown option": (
        lambda: emprune.methods.make_method("ucb", beta=1),
        "Method 'ucb' has no option 'beta'; its options are: c, alpha, replan_every.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings(make: Callable[[], object], message: str) -> None:
    with pytest.raises(emprune.ConfigError) as caught:
        make()
    assert str(caught.value) == message


BAD_LOSSES: dict[str, tuple[Callable[[torch.Tensor], tuple[Any, ...]], str]] = {
    "a mean": (
        lambda index: (index, LOSSES.mean()),
        "`losses` must have one loss per sample, shape (B,): got a scalar. Did you forget reduction='none'?",
    ),
    "a loss per token": (
        lambda index: (index, LOSSES.repeat(7, 1).T),
        "`losses` must have one loss per sample, shape (B,): got (5, 7). Average over the other dimensions first.",
    ),
    "integers": (
        lambda index: (index, LOSSES.long()),
        "`losses` must be a float tensor of shape (B,): got torch.int64.",
    ),
    "a list": (
        lambda index: (index, LOSSES.tolist()),
        "`losses` must be a float tensor of shape (B,): got list.",
    ),
    "too few": (
        lambda index: (index, LOSSES[:4]),
        "`index` and `losses` must be equally long: got 5 indices and 4 losses. "
        "Does the collate_fn drop samples, or is the index that of another batch?",
    ),
    "an int32 index": (
        lambda index: (index.int(), LOSSES),
        "`index` must be a (B,) int64 tensor of positions in the dataset: got (5,) torch.int32. "
        "Pass the index the loader delivers with each batch.",
    ),
    "an index that is a list": (
        lambda index: (index.tolist(), LOSSES),
        "`index` must be a (B,) int64 tensor of positions in the dataset: got list. "
        "Pass the index the loader delivers with each batch.",
    ),
    "an index with a column": (
        lambda index: (index[:, None], LOSSES),
        "`index` must be a (B,) int64 tensor of positions in the dataset: got (5, 1) torch.int64. "
        "Pass the index the loader delivers with each batch.",
    ),
    "out of range": (
        lambda index: (torch.tensor([10]), LOSSES[:1]),
        "`index` must be in [0, 10), a position in the dataset: got 10.",
    ),
    "negative": (
        lambda index: (torch.tensor([int(index[0]), -1]), LOSSES[:2]),
        "`index` must be in [0, 10), a position in the dataset: got -1.",
    ),
    "not planned": (
        lambda index: (not_planned(index)[:3], LOSSES[:3]),
        "`index` must be in this epoch's plan: got {0} and 2 more that are not. "
        "Observe only batches of the loader; evaluation is never observed.",
    ),
    "no outputs": (
        lambda index: (index, LOSSES),
        "EMP needs the model's outputs: call pruner.reduce(index, losses, logits) with the logits.",
    ),
    "outputs of another batch": (
        lambda index: (index, LOSSES, torch.randn(4, 3)),
        "The measured 'memory' must be (B,) = (5,): got (4,). Are `outputs` those of this batch?",
    ),
    "outputs that are no logits": (
        lambda index: (index, LOSSES, torch.zeros(5)),
        "`logits` must be a float (B, C), or (B, T, C) with an optional (B, T) mask: got shape (5,), torch.float32, "
        "mask None. Pass the model's logits, not its predictions or its whole output object.",
    ),
    "outputs in a dictionary": (
        lambda index: (index, LOSSES, {"logits": torch.randn(5, 3)}),
        "`logits` must be a float tensor, (B, C) or (B, T, C): got dict. "
        "Pass the model's logits, not its predictions or its whole output object.",
    ),
}  # fmt: skip


def not_planned(index: torch.Tensor) -> torch.Tensor:
    return torch.tensor(sorted(set(range(10)) - set(index.tolist())))


@pytest.mark.parametrize("verb", ["observe", "reduce"])
@pytest.mark.parametrize(("arguments", "message"), BAD_LOSSES.values(), ids=BAD_LOSSES)
def test_observations(arguments: Callable[[torch.Tensor], tuple[Any, ...]], message: str, verb: str) -> None:
    pruner = pruner_of(emprune.EMP())
    index = pruner.begin_epoch(0).index
    pruner.observe(index[:2], LOSSES[:2], torch.randn(2, 3))
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.ObservationError) as caught:
        getattr(pruner, verb)(*arguments(index))
    assert str(caught.value) == message.format(int(not_planned(index)[0]))
    assert_same_state(pruner.state_dict(), before)


def test_score_losses_by_their_own_name() -> None:
    pruner = pruner_of()
    index = pruner.begin_epoch(0).index
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.ObservationError) as caught:
        pruner.reduce(index, LOSSES, score_losses=LOSSES.mean())
    assert str(caught.value) == (
        "`score_losses` must have one loss per sample, shape (B,): got a scalar. Did you forget reduction='none'?"
    )
    assert_same_state(pruner.state_dict(), before)


def test_nan() -> None:
    pruner = pruner_of()
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.tensor([0.5, torch.nan, 2.0, 0.25, torch.inf]))
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.ObservationError) as caught:
        pruner.begin_epoch(1)
    assert str(caught.value) == (
        f"2 samples of epoch 0 were observed with a NaN or infinite loss or memory term (dataset positions "
        f"{int(index[1])}, {int(index[4])}). Lower the learning rate or mend the data; or use nonfinite='skip' or "
        f"nonfinite='revisit' to go on without them."
    )
    assert_same_state(pruner.state_dict(), before)


EPOCHS: dict[str, tuple[Callable[[emprune.DataPruner], object], str]] = {
    "observing before the first": (
        lambda fresh: fresh.observe(torch.tensor([0]), LOSSES[:1]),
        "No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.",
    ),
    "reducing before the first": (
        lambda fresh: fresh.reduce(torch.tensor([0]), LOSSES[:1]),
        "No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.",
    ),
    "weights before the first": (
        lambda fresh: fresh.weights(torch.tensor([0])),
        "No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.",
    ),
    "starting late": (
        lambda fresh: fresh.begin_epoch(2),
        "Epochs come in order, 0 to 3, each planned once: got epoch=2; next is epoch 0. "
        "A new run takes a new pruner; a resumed one loads its state before its first set_epoch.",
    ),
    "a forgotten reduce": (
        lambda fresh: [fresh.begin_epoch(epoch) for epoch in (0, 1)],
        "Greedy saw no observation in the whole of epoch 0: did you call pruner.reduce(index, losses, logits) in the "
        "training loop?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("act", "message"), EPOCHS.values(), ids=EPOCHS)
def test_epochs(act: Callable[[emprune.DataPruner], object], message: str) -> None:
    pruner, twin = pruner_of(), pruner_of()
    with pytest.raises(emprune.errors.EpochError) as caught:
        act(pruner)
    assert str(caught.value) == message
    if pruner.epoch == 0:
        twin.begin_epoch(0)
    assert_same_state(pruner.state_dict(), twin.state_dict())


def test_epochs_out_of_order() -> None:
    pruner = pruner_of(emprune.Random())
    pruner.begin_epoch(0)
    pruner.begin_epoch(1)
    before = through_disk(pruner.state_dict())
    for epoch in (0, 3):
        with pytest.raises(emprune.errors.EpochError) as caught:
            pruner.begin_epoch(epoch)
        assert str(caught.value) == (
            f"Epochs come in order, 0 to 3, each planned once: got epoch={epoch}; next is epoch 2, or the current one, "
            "1, again. A new run takes a new pruner; a resumed one loads its state before its first set_epoch."
        )
        assert_same_state(pruner.state_dict(), before)


STATES: dict[str, tuple[Callable[[], Any], str]] = {
    "another method": (
        lambda: pruner_of(emprune.Random()).state_dict(),
        "The state's `method` is 'random', this pruner's is 'greedy'. Resume with the method the run was started with.",
    ),
    "another dataset": (
        lambda: pruner_of(num_samples=11).state_dict(),
        "The state's `num_samples` is 11, this pruner's is 10. The dataset must be the one the run was started with.",
    ),
    "another seed": (
        lambda: pruner_of(seed=1).state_dict(),
        "The state's `seed` is 1, this pruner's is 0. Resume with the seed the run was started with.",
    ),
    "another version": (
        lambda: {**pruner_of().state_dict(), "format_version": 99},
        "The state has format version 99, this emprune reads version 1. Resume with the emprune it was written by.",
    ),
    "another thing": (
        lambda: torch.nn.Linear(2, 2).state_dict(),
        "This is not a pruner's state: got a OrderedDict without `format_version`. "
        "Pass what pruner.state_dict() returned.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "message"), STATES.values(), ids=STATES)
def test_states(state: Callable[[], Any], message: str) -> None:
    pruner = pruner_of()
    pruner.observe(pruner.begin_epoch(0).index, LOSSES)
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.StateError) as caught:
        pruner.load_state_dict(state())
    assert str(caught.value) == message
    assert_same_state(pruner.state_dict(), before)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


DATASET: Dataset[Any] = TensorDataset(torch.arange(10.0))

LOADERS: dict[str, tuple[Callable[[], DataLoader[Any]], str]] = {
    "a stream": (
        lambda: DataLoader(Stream(), batch_size=2),
        "An IterableDataset cannot be pruned: its samples have no positions to choose from. Use a map-style dataset.",
    ),
    "no batches": (
        lambda: DataLoader(DATASET, batch_size=None),
        "The DataLoader has `batch_size=None`: the plan decides what a batch holds, and needs a batch size. "
        "Give the DataLoader batch_size=... instead.",
    ),
    "a sampler of one's own": (
        lambda: DataLoader(DATASET, batch_size=2, sampler=WeightedRandomSampler([1.0] * 10, 10)),
        "The DataLoader's sampler, WeightedRandomSampler, chooses samples itself, and so does the pruner: only random "
        "(without replacement, over all), sequential and distributed samplers are replaced by the plan. Use "
        "shuffle=True, and express the choice as an emprune.Method.",
    ),
    "another dataset": (
        lambda: DataLoader(TensorDataset(torch.arange(9.0)), batch_size=2),
        "The dataset has 9 samples, the pruner was made for num_samples=10. Use num_samples=len(dataset); a dataset "
        "must not change its length during a run.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), LOADERS.values(), ids=LOADERS)
def test_loaders(make: Callable[[], DataLoader[Any]], message: str) -> None:
    pruner = pruner_of()
    with pytest.raises(emprune.ConfigError) as caught:
        emprune.PrunedLoader(make(), pruner)
    assert str(caught.value) == message
    assert_same_state(pruner.state_dict(), pruner_of().state_dict())


def test_iterating_before_set_epoch() -> None:
    pruner = pruner_of()
    loader = emprune.PrunedLoader(DataLoader(DATASET, batch_size=2), pruner)
    with pytest.raises(
        emprune.errors.EpochError, match=r"Call loader\.set_epoch\(epoch\) before iterating: got no epoch yet"
    ):
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
