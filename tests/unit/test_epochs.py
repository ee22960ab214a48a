"""The epoch protocol, unseen samples, full epochs and ties, as the engine promises them to every method."""

from typing import Any, cast

import pytest
import torch

import emprune
from emprune.testing import assert_same_state
from tests.messages import ANY, Raises
from tests.unit.support import after_full_epoch, chosen, make_pruner, observe

SCORING = [
    emprune.Greedy(),
    emprune.methods.EpsilonGreedy(),
    emprune.methods.UCB(),
    emprune.InfoBatch(),
    emprune.EMP(),
    emprune.RandomPermutation(),
]


def test_epochs_come_in_order(raises: Raises) -> None:
    pruner = make_pruner(emprune.Random())
    for wrong in (1, -1, 4, 0.5):
        with raises(emprune.errors.EpochError, value=wrong):
            pruner.begin_epoch(wrong)  # type: ignore[arg-type]
    pruner.begin_epoch(0)
    pruner.begin_epoch(1)
    for wrong in (0, 3):
        with raises(emprune.errors.EpochError, value=wrong):
            pruner.begin_epoch(wrong)
    assert pruner.epoch == 1


def test_there_is_nothing_beyond_the_last_epoch(raises: Raises) -> None:
    pruner = make_pruner(emprune.Random(), num_epochs=2)
    pruner.begin_epoch(0)
    last = pruner.begin_epoch(1)
    with raises(emprune.errors.EpochError, value=2):
        pruner.begin_epoch(2)
    assert pruner.begin_epoch(1) is last


@pytest.mark.parametrize("method", SCORING, ids=lambda method: method.name)
def test_a_method_that_scores_asks_for_observations(method: emprune.Method, raises: Raises) -> None:
    pruner = make_pruner(method)
    plan = pruner.begin_epoch(0)
    with raises(emprune.errors.EpochError, value=0):
        pruner.begin_epoch(1)
    assert pruner.begin_epoch(0) is plan
    pruner.observe(plan.index[:1], torch.ones(1), torch.ones(1, 3))  # an early stop is none of its business
    assert pruner.begin_epoch(1).epoch == 1


def test_it_asks_in_every_epoch_again(raises: Raises) -> None:
    pruner = make_pruner()
    observe_all(pruner, 0)
    pruner.begin_epoch(1)
    with raises(emprune.errors.EpochError, value=1):
        pruner.begin_epoch(2)


def test_observations_that_were_synced_count() -> None:
    pruner = make_pruner()
    observe_all(pruner, 0)
    pruner.sync()
    assert pruner.begin_epoch(1).epoch == 1


def observe_all(pruner: emprune.DataPruner, epoch: int) -> None:
    index = pruner.begin_epoch(epoch).index
    pruner.observe(index, torch.ones(len(index)))


@pytest.mark.parametrize(
    "method", [emprune.Random(), emprune.methods.StaticRandom(), emprune.methods.StaticSubset(torch.rand(10))]
)
def test_a_method_that_does_not_score_runs_without(method: emprune.Method) -> None:
    pruner = make_pruner(method)
    assert [len(pruner.begin_epoch(epoch)) for epoch in range(4)] == [5, 5, 5, 5]


def test_planning_again_with_another_quantum_changes_nothing() -> None:
    pruner = make_pruner()
    plan = pruner.begin_epoch(0)
    assert pruner.begin_epoch(0, multiple_of=3, drop_last=True) is plan


@pytest.mark.parametrize("multiple_of", [0, -8, 2.0])
def test_the_quantum_is_a_positive_integer(multiple_of: int) -> None:
    pruner = make_pruner()
    with pytest.raises(emprune.ConfigError, match="`multiple_of` must be an integer of at least 1"):
        pruner.begin_epoch(0, multiple_of=multiple_of)
    assert pruner.epoch == -1


@pytest.mark.parametrize("method", SCORING, ids=lambda method: method.name)
def test_everybody_is_seen_before_anybody_is_seen_twice(method: emprune.Method) -> None:
    pruner = emprune.DataPruner(method, num_samples=100, num_epochs=20, keep=0.3, tail_epochs=0)
    plans = []
    for epoch in range(4):
        plans.append(pruner.begin_epoch(epoch))
        pruner.observe(plans[-1].index, torch.rand(30), torch.randn(30, 3))
    assert len(set().union(*map(chosen, plans[:3]))) == 90
    assert len(set().union(*map(chosen, plans))) == 100
    assert all(plan.weight is None for plan in plans[:3])


def test_the_unseen_are_drawn_and_ordered_at_random() -> None:
    index = make_pruner(num_samples=1000, keep=0.5).begin_epoch(0).index
    other = make_pruner(num_samples=1000, keep=0.5, seed=1).begin_epoch(0).index
    assert abs(float(index.double().mean()) - 499.5) < 5 * (1000**2 / 12 / 1000) ** 0.5
    assert abs(float(torch.corrcoef(torch.stack([index.double(), torch.arange(500).double()]))[0, 1])) < 5 / 500**0.5
    assert 200 < len(set(index.tolist()) & set(other.tolist())) < 300


def test_a_plan_is_in_random_order_whatever_the_scores() -> None:
    losses = torch.arange(1000).float()
    index = after_full_epoch(emprune.Greedy(), losses, num_kept=500).begin_epoch(1).index
    assert abs(float(torch.corrcoef(torch.stack([index.double(), torch.arange(500).double()]))[0, 1])) < 5 / 500**0.5


def test_what_full_epochs_leave_out_rotates() -> None:
    pruner = emprune.DataPruner(emprune.Full(), num_samples=10, num_epochs=5, keep=1)
    left_out = []
    for epoch in range(5):
        plan = pruner.begin_epoch(epoch, multiple_of=4, drop_last=True)
        assert len(plan) == 8
        left_out += sorted(set(range(10)) - chosen(plan))
    assert sorted(left_out) == list(range(10))
    assert left_out != list(range(10))


@pytest.mark.parametrize(
    "method", [m for m in SCORING if not isinstance(m, emprune.RandomPermutation)], ids=lambda method: method.name
)
def test_full_epochs_visit_all_whatever_the_method(method: emprune.Method) -> None:
    pruner = emprune.DataPruner(method, num_samples=50, num_epochs=6, keep=0.6, warmup_epochs=1, tail_epochs=1)
    sizes = []
    for epoch in range(6):
        plan = pruner.begin_epoch(epoch)
        sizes.append(len(plan))
        pruner.observe(plan.index, torch.rand(len(plan)), torch.randn(len(plan), 3))
        if epoch in (0, 5):
            assert chosen(plan) == set(range(50))
            assert plan.weight is None
    assert sizes == [50, 20, 20, 20, 20, 50]


@pytest.mark.parametrize("method", [emprune.methods.EpsilonGreedy(replan_every=3), emprune.methods.UCB(replan_every=3)])
def test_bandits_hold_their_selection(method: emprune.Method) -> None:
    pruner = emprune.DataPruner(method, num_samples=100, num_epochs=12, keep=0.5)
    plans = []
    for epoch in range(12):
        plans.append(pruner.begin_epoch(epoch))
        pruner.observe(plans[-1].index, torch.rand(50, generator=torch.Generator().manual_seed(epoch)))
    sets = [chosen(plan) for plan in plans]
    assert sets[0].isdisjoint(sets[1])  # unseen first
    assert sets[2] != sets[1]  # everybody is seen: the first selection
    for epoch in range(3, 12):
        assert (sets[epoch] == sets[epoch - 1]) == (epoch % 3 != 0)
        assert plans[epoch].index.tolist() != plans[epoch - 1].index.tolist()  # in another order


def test_a_held_selection_gives_and_takes_as_few_as_the_size_asks() -> None:
    pruner = emprune.DataPruner(emprune.methods.UCB(replan_every=100), num_samples=100, num_epochs=8, keep=0.45)
    sizes, sets = [], []
    for epoch in range(8):
        plan = pruner.begin_epoch(epoch, multiple_of=10)
        pruner.observe(plan.index, torch.rand(len(plan)))
        sizes.append(len(plan))
        sets.append(chosen(plan))
    for epoch in range(4, 8):
        assert len(sets[epoch] & sets[epoch - 1]) == min(sizes[epoch], sizes[epoch - 1])
    assert len(set(sizes[3:])) == 2


def test_nothing_is_held_over_a_full_epoch() -> None:
    pruner = emprune.DataPruner(
        emprune.methods.UCB(replan_every=100), num_samples=10, num_epochs=3, keep=0.8, warmup_epochs=1
    )
    losses = torch.arange(10).float()
    pruner.begin_epoch(0)
    observe(pruner, losses)
    assert chosen(pruner.begin_epoch(1)) == {3, 4, 5, 6, 7, 8, 9}


class Careless(emprune.Greedy):
    """Greedy, whose selections can be replaced."""

    selection: emprune.methods.Selection

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        return self.selection


@pytest.mark.parametrize(
    ("index", "weight", "value"),
    [
        ([0, 1], None, 2),
        ([0, 1, 1], None, ANY),
        ([0, 1, 10], None, "0 to 10"),
        ([0, 1, -1], None, "-1 to 1"),
        ([0.0, 1.0, 2.0], None, "torch.float32"),
        ([[0, 1, 2]], None, (1, 3)),
        ([0, 1, 2], [1.0, 1.0], ANY),
        ([0, 1, 2], [1.0, 1.0, torch.nan], ANY),
    ],
    ids=["too few", "one twice", "too large", "negative", "floats", "a matrix", "too few weights", "a weight of NaN"],
)
def test_a_method_that_selects_wrongly_is_told_so(
    index: list[int], weight: list[float] | None, value: Any, raises: Raises
) -> None:
    method = Careless()
    pruner = after_full_epoch(method, torch.rand(10), num_kept=3)
    selection = emprune.methods.Selection(torch.tensor(index), None if weight is None else torch.tensor(weight))
    object.__setattr__(method, "selection", selection)
    pruner.sync()
    before = pruner.state_dict()
    with raises(emprune.errors.MethodError, value=value):
        pruner.begin_epoch(1)
    assert_same_state(pruner.state_dict(), before)


def test_only_the_seen_may_be_selected_while_others_come_first(raises: Raises) -> None:
    method = Careless()
    pruner = make_pruner(method, keep=0.6)
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.rand(6))
    unseen = sorted(set(range(10)) - set(index.tolist()))
    object.__setattr__(method, "selection", emprune.methods.Selection(torch.tensor(unseen[:2])))
    with raises(emprune.errors.MethodError, value="Careless.select"):
        pruner.begin_epoch(1)


@pytest.mark.parametrize(
    ("selection", "value"),
    [
        (torch.arange(3), "(3,) torch.int64"),
        (None, "NoneType"),
        (emprune.methods.Selection(cast(Any, torch.arange(3).numpy())), "ndarray"),
        (emprune.methods.Selection(torch.arange(3), cast(Any, [1.0, 1.0, 1.0])), "list"),
    ],
    ids=["a tensor", "nothing", "an array", "a list of weights"],
)
def test_what_is_no_selection_of_tensors_is_refused(selection: Any, value: str, raises: Raises) -> None:
    method = Careless()
    pruner = after_full_epoch(method, torch.rand(10), num_kept=3)
    object.__setattr__(method, "selection", selection)
    with raises(emprune.errors.MethodError, value=value):
        pruner.begin_epoch(1)


def test_scores_that_are_forgotten_are_refused(raises: Raises) -> None:
    class Silent(emprune.Greedy):
        def score(self, stats: emprune.methods.SampleStats) -> torch.Tensor:
            return cast(torch.Tensor, None)

    pruner = after_full_epoch(Silent(), torch.rand(10), num_kept=3)
    with raises(emprune.errors.MethodError, value="NoneType"):
        pruner.begin_epoch(1)


def test_wrong_scores_are_refused(raises: Raises) -> None:
    class Doubled(emprune.Greedy):
        def score(self, stats: emprune.methods.SampleStats) -> torch.Tensor:
            return stats["loss"].double()

    pruner = after_full_epoch(Doubled(), torch.rand(10), num_kept=3)
    with raises(emprune.errors.MethodError, value="torch.float64"):
        pruner.begin_epoch(1)


def test_the_same_samples_come_in_another_order_each_epoch() -> None:
    pruner = make_pruner(emprune.methods.StaticRandom(), num_samples=100)
    plans = [pruner.begin_epoch(epoch) for epoch in range(4)]
    assert len({frozenset(chosen(plan)) for plan in plans}) == 1
    assert len({tuple(plan.index.tolist()) for plan in plans}) == 4


def test_nothing_is_held_where_a_sample_was_forgotten() -> None:
    pruner = make_pruner(emprune.methods.UCB(c=0, replan_every=100), num_epochs=6, nonfinite="revisit")
    losses = torch.arange(10).float()
    for epoch in range(3):
        pruner.begin_epoch(epoch)
        observe(pruner, losses)
    assert chosen(pruner.begin_epoch(3)) == {5, 6, 7, 8, 9}
    spoilt = torch.tensor([0.0] * 5 + [0.0, torch.nan, 0.0, 0.0, 0.0])
    observe(pruner, spoilt)
    assert chosen(pruner.begin_epoch(4)) == {6, 4, 3, 2, 9}  # 6 comes first; 9 is down to 0.2 · 9
