"""Samples of like length in one step: the same plan in another order, and everything else as without."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import emprune
from emprune.errors import ConfigError, EpochError, StateError
from emprune.lengths import WINDOW, by_length
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator
from tests.messages import Raises


class Sentences(Dataset[Tensor]):
    """Rows of ones, as long as their lengths say."""

    def __init__(self, num_samples: int = 600, *, longest: int = 60) -> None:
        generator = torch.Generator().manual_seed(0)
        self.lengths = torch.randint(3, longest, (num_samples,), generator=generator)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, position: int) -> Tensor:
        return torch.ones(int(self.lengths[position]))


def padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def make_loader(
    dataset: Sentences, method: str = "greedy", *, lengths: bool = True, batch_size: int = 10, seed: int = 0
) -> emprune.PrunedLoader:
    dataloader = DataLoader(dataset, batch_size=batch_size, shuffle=True, collate_fn=padded)
    given = dataset.lengths if lengths else None
    keep = None if method == "full" else 0.5
    return emprune.PrunedLoader(dataloader, method, num_epochs=4, keep=keep, seed=seed, lengths=given)


def train(loader: emprune.PrunedLoader, *, stop_after: int | None = None) -> list[list[int]]:
    """Return the delivered batches; the loss of a sample is its position."""
    batches: list[list[int]] = []
    for _ in loader.epochs():
        for index, _ in loader:
            loader.reduce(index, index.float())
            batches.append(index.tolist())
            if len(batches) == stop_after:
                return batches
    return batches


def slow_twin(plan: EpochPlan, lengths: Tensor, *, step: int, seed: int) -> list[int]:
    """Sort each window by length, cut it into steps, and put the steps in random order: a step at a time."""
    order, num_steps = plan.index.tolist(), len(plan) // step
    if num_steps < 2:
        return order
    whole, rest = order[: num_steps * step], order[num_steps * step :]
    window = max(1, min(WINDOW, len(whole) // 2) // step) * step
    grouped: list[int] = []
    for start in range(0, len(whole), window):
        grouped += sorted(whole[start : start + window], key=lambda position: int(lengths[position]))
    steps = [grouped[start : start + step] for start in range(0, len(grouped), step)]
    generator = derive_generator(seed, "lengths", plan.epoch)
    shuffled = [steps[number] for number in torch.randperm(num_steps, generator=generator).tolist()]
    return [position for own in shuffled for position in own] + rest


@given(
    num_samples=st.integers(1, 300),
    step=st.integers(1, 40),
    seed=st.integers(0, 5),
    longest=st.sampled_from([1, 4, 10**6]),
    window=st.sampled_from([7, 64, WINDOW]),
)
def test_the_order_is_that_of_a_slow_twin_and_the_samples_stay(
    num_samples: int, step: int, seed: int, longest: int, window: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest, (num_samples,), generator=generator)
    index = torch.randperm(num_samples, generator=generator)[: max(1, num_samples // 2)]
    plan = EpochPlan(3, index, lengths[index].float(), num_samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emprune.lengths.WINDOW", window)
        patch.setattr(f"{__name__}.WINDOW", window)
        grouped = by_length(plan, lengths, step=step, seed=seed)
        assert grouped.index.tolist() == slow_twin(plan, lengths, step=step, seed=seed)
    assert grouped.index.sort().values.equal(index.sort().values)
    assert grouped.weight is not None
    assert grouped.weight.equal(lengths[grouped.index].float())  # each sample keeps its weight


@pytest.mark.parametrize("method", ["greedy", "infobatch", "random-permutation", "full"])
def test_an_epoch_has_the_samples_and_weights_that_it_has_without(method: str) -> None:
    dataset = Sentences()
    with_lengths, without = (make_loader(dataset, method, lengths=lengths) for lengths in (True, False))
    for epoch in range(4):
        plans = []
        for loader in (with_lengths, without):
            loader.set_epoch(epoch)
            plan = loader.pruner.plan
            weight = torch.ones(len(plan)) if plan.weight is None else plan.weight
            plans.append(sorted(zip(plan.index.tolist(), weight.tolist(), strict=True)))
            for index, _ in loader:
                loader.reduce(index, index.float())
        assert plans[0] == plans[1]
        assert with_lengths.pruner.plan.index.tolist() != without.pruner.plan.index.tolist()


def test_batches_are_hardly_padded_and_come_in_random_order() -> None:
    dataset = Sentences(6000)
    padding = []
    for lengths in (True, False):
        loader = make_loader(dataset, "random-permutation", lengths=lengths, batch_size=32)
        loader.set_epoch(0)
        sizes = [(rows.sum().item(), rows.numel(), rows.shape[1]) for _, rows in loader]
        padding.append(sum(size for _, size, _ in sizes) / sum(used for used, _, _ in sizes))
        longest = [size for _, _, size in sizes]
        assert longest != sorted(longest)
    assert padding[0] < 1.05
    assert padding[1] > 1.5


def test_company_changes_from_epoch_to_epoch() -> None:
    loader = make_loader(Sentences(), "full", batch_size=10)
    batches = train(loader)
    epochs = [{frozenset(batch) for batch in batches[60 * epoch : 60 * epoch + 60]} for epoch in range(4)]
    assert all(len(one & other) < 6 for one in epochs for other in epochs if one is not other)


@pytest.mark.parametrize("stop_after", [1, 17, 30, 31, 59])
def test_a_resumed_run_goes_on_with_the_same_batches(stop_after: int) -> None:
    dataset = Sentences()
    whole = train(make_loader(dataset))
    first = make_loader(dataset)
    begun = train(first, stop_after=stop_after)
    state = copy.deepcopy(first.state_dict())
    second = make_loader(dataset)
    second.load_state_dict(state)
    assert begun + train(second) == whole


def test_ranks_share_each_step_so_that_all_their_batches_are_alike() -> None:
    dataset = Sentences(2400)
    pruner = emprune.DataPruner(
        "random-permutation", num_samples=2400, num_epochs=2, keep=0.5, lengths=dataset.lengths.tolist()
    )
    plan = pruner.begin_epoch(0, multiple_of=40)
    shards = [plan.shard(rank, 4) for rank in range(4)]
    spread = [
        [int(dataset.lengths[part].max() - dataset.lengths[part].min()) for part in shard.index.split(10)]
        for shard in shards
    ]
    assert max(max(own) for own in spread) <= 12  # of 57
    assert sorted(torch.cat([shard.index for shard in shards]).tolist()) == sorted(plan.index.tolist())


def test_a_state_knows_its_lengths() -> None:
    dataset = Sentences()
    loader = make_loader(dataset)
    loader.set_epoch(0)
    state = loader.state_dict()
    for other in (make_loader(dataset, lengths=False), make_loader(Sentences(longest=61))):
        with pytest.raises(StateError, match="The state's `lengths` is '[0-9a-f]{16}'"):
            other.load_state_dict(state)
    with pytest.raises(StateError, match="The state's `lengths` is None"):
        loader.load_state_dict(make_loader(dataset, lengths=False).state_dict())


@pytest.mark.parametrize(
    ("lengths", "shown"),
    [
        ([1, 2], "(2,) int64"), ([1.0] * 10, "(10,) float64"), ([-1] + [1] * 9, "-1"), (["a"] * 10, "no numbers"),
        ([[1]] * 10, "(10, 1) int64"), (torch.ones(10), "(10,) float32"), (torch.ones(10) > 0, "(10,) bool"),
        (5, "() int64"),
    ],
)  # fmt: skip
def test_what_is_no_length_for_each_sample_is_refused(lengths: object, shown: str, raises: Raises) -> None:
    with raises(ConfigError, parameter="lengths", value=shown):
        emprune.DataPruner("greedy", num_samples=10, num_epochs=4, keep=0.5, lengths=lengths)  # type: ignore[arg-type]


def test_lengths_beside_a_pruner_are_refused() -> None:
    dataset = Sentences()
    pruner = emprune.DataPruner("greedy", num_samples=len(dataset), num_epochs=4, keep=0.5)
    with pytest.raises(ConfigError, match="`lengths` must be given to the DataPruner") as caught:
        emprune.PrunedLoader(DataLoader(dataset, batch_size=10), pruner, lengths=dataset.lengths.tolist())
    assert ", ...]" in str(caught.value), "a long list is not shown whole"


def test_lengths_may_be_set_before_the_first_epoch_and_the_state_knows_them(raises: Raises) -> None:
    dataset = Sentences()
    options: dict[str, Any] = {"num_samples": len(dataset), "num_epochs": 4, "keep": 0.5}
    pruner = emprune.DataPruner("greedy", **options)
    given = emprune.DataPruner("greedy", **options, lengths=dataset.lengths)
    with pytest.raises(StateError, match="The state's `lengths` is '[0-9a-f]{16}'"):
        pruner.load_state_dict(given.state_dict())
    pruner.lengths = dataset.lengths.tolist()
    pruner.load_state_dict(given.state_dict())
    assert pruner.begin_epoch(0, multiple_of=10).index.equal(given.begin_epoch(0, multiple_of=10).index)
    with raises(EpochError, parameter="lengths", value="epoch 0"):
        pruner.lengths = None
    with raises(ConfigError, parameter="lengths", value="(1,) int64"):
        emprune.DataPruner("greedy", **options).lengths = [1]
