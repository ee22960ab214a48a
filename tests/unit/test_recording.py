"""What `record=` remembers beside a method's columns, and that it changes nothing else."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F

import emprune
from emprune.errors import MethodError, MethodWarning, ObservationError, StateError
from emprune.methods import Column
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, through_disk, train_epoch
from tests.messages import Raises
from tests.unit.support import make_pruner, nan, observe

TASK = SyntheticTask(num_samples=10)
ALL = ("mean_loss", "mean_margin", "first_learnt", "forgotten", "predicted")
LABELS = torch.tensor([0, 1, 2])
VISITS = [  # (3, 3) probabilities of each of three epochs
    [[0.2, 0.5, 0.3], [0.3, 0.6, 0.1], [0.1, 0.7, 0.2]],
    [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.6, 0.2]],
    [[0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]],
]


def recording(record: Any = "all", method: Any = None, **options: Any) -> emprune.DataPruner:
    settings = {"num_samples": 10, "num_epochs": 4, "keep": 0.5, "tail_epochs": 0, **options}
    return emprune.DataPruner(method or emprune.Greedy(), record=record, **settings)


def test_three_samples_worked_out_by_hand() -> None:
    pruner = recording(num_samples=3, keep=1.0)
    for epoch, probabilities in enumerate(VISITS):
        pruner.begin_epoch(epoch)
        logits = torch.tensor(probabilities).log()
        observe(pruner, F.cross_entropy(logits, LABELS, reduction="none"), logits)
    pruner.sync()
    stats = pruner.stats
    assert stats["mean_margin"].tolist() == pytest.approx([-0.1 / 3, (0.3 - 0.1 + 0.7) / 3, (-0.5 - 0.4 - 0.1) / 3])
    assert stats["mean_loss"].tolist() == pytest.approx([1.1080788, 0.5500866, 1.4742829])
    assert stats["first_learnt"].tolist() == [1, 0, -1]
    assert stats["forgotten"].tolist() == [1, 1, 0]
    assert stats["right"].tolist() == [0, 1, 0]
    assert stats["predicted"].tolist() == [1, 1, 1]
    assert stats["recorded"].tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("record", "num_bytes"),
    [(None, 0), ((), 0), ("mean_loss", 8), (["forgotten"], 9), (("predicted", "mean_loss"), 12), ("all", 25)],
)
def test_what_it_costs_and_in_which_order_it_stands(record: Any, num_bytes: int) -> None:
    pruner = recording(record)
    assert pruner.stats.bytes_per_sample == 13 + num_bytes
    assert pruner.recording.names == tuple(
        name for name in ALL if record == "all" or name == record or name in tuple(record or ())
    )


@pytest.mark.parametrize("record", ["loss", ["mean_loss", "margins"], 3, {"mean_loss"}])
def test_other_names_are_refused(raises: Raises, record: Any) -> None:
    with raises(emprune.ConfigError, parameter="record", value=record):
        recording(record)


@pytest.mark.parametrize("method", ["emp", "greedy", "ucb", "random", "full"])
def test_recording_changes_no_plan_and_no_other_column(method: str) -> None:
    keep = 1.0 if method == "full" else 0.5
    plain, pruner = recording(None, method, keep=keep), recording("all", method, keep=keep)
    for epoch in range(4):
        assert pruner.begin_epoch(epoch).fingerprint == plain.begin_epoch(epoch).fingerprint
        for one in (plain, pruner):
            train_epoch(one, TASK, stop=3)
            one.sync()
            train_epoch(one, TASK)  # again, as in an epoch that is begun anew
            one.sync()
    for name in plain.state_dict()["columns"]:
        assert pruner.stats[name].numpy().tobytes() == plain.stats[name].numpy().tobytes()
    assert pruner.stats["recorded"].max() <= 4


def test_a_second_observation_in_an_epoch_counts_once() -> None:
    pruner = recording()
    plan = pruner.begin_epoch(0)
    for _ in range(2):
        train_epoch(pruner, TASK)
        pruner.sync()
    assert pruner.stats["recorded"][plan.index].tolist() == [1] * 5


def test_what_is_not_finite_is_not_recorded() -> None:
    pruner = recording(keep=1.0, nonfinite="revisit")
    for epoch in range(3):
        plan = pruner.begin_epoch(epoch)
        losses, logits = TASK.batch(plan.index, epoch=epoch)
        pruner.observe(plan.index, losses.masked_fill(plan.index == 4, nan) if epoch == 1 else losses, logits)
    pruner.sync()
    assert pruner.stats["recorded"].tolist() == [3, 3, 3, 3, 2, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("stop", [None, 2])
def test_a_resumed_run_ends_as_the_uninterrupted_one(stop: int | None) -> None:
    whole, first = recording(), recording()
    run_epochs(whole, TASK, multiple_of=1)
    run_epochs(first, TASK, multiple_of=1, stop=2)
    first.begin_epoch(2)
    train_epoch(first, TASK, stop=stop)
    second = recording()
    second.load_state_dict(through_disk(first.state_dict()))
    if stop is not None:
        train_epoch(second, TASK, start=stop)
    run_epochs(second, TASK, multiple_of=1)
    assert_same_state(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize(("saved", "mine"), [("all", None), (None, "mean_loss"), ("predicted", "mean_loss")])
def test_a_state_with_another_record_is_refused(raises: Raises, saved: Any, mine: Any) -> None:
    state = recording(saved).state_dict()
    with raises(StateError, parameter="record"):
        recording(mine).load_state_dict(state)


def test_a_state_from_before_there_was_a_record_is_loaded() -> None:
    state = copy.deepcopy(recording(None).state_dict())
    del state["settings"]["record"]
    recording(None).load_state_dict(state)


@dataclass(frozen=True)
class Forgetful(emprune.Greedy):
    """A method that lacks the values of its column."""

    name: ClassVar[str] = "forgetful"
    columns: ClassVar[tuple[Column, ...]] = (Column("missing", "what nobody measures"),)


def test_where_a_method_breaks_its_contract_nothing_is_recorded() -> None:
    pruner = recording(method=Forgetful())
    pruner.begin_epoch(0)
    train_epoch(pruner, TASK)
    with pytest.raises(MethodError, match="'missing'"):
        pruner.sync()
    assert pruner.stats["recorded"].tolist() == [0] * 10


def test_it_needs_outputs_where_the_method_needs_none(raises: Raises) -> None:
    pruner = recording(["predicted"])
    index = pruner.begin_epoch(0).index
    with raises(ObservationError, parameter="outputs"):
        pruner.observe(index, torch.ones(5))


@pytest.mark.parametrize(
    "outputs",
    [torch.zeros(5, 4, 3), torch.zeros(5), torch.zeros(5, 1), torch.zeros(4, 3), emprune.memory.MaskedLogits, "text"],
)
def test_other_outputs_than_logits_are_refused(raises: Raises, outputs: Any) -> None:
    pruner = recording(method="emp")
    index = pruner.begin_epoch(0).index
    if isinstance(outputs, type):
        outputs = outputs(torch.zeros(5, 4, 3))
    with raises(ObservationError, parameter="outputs"):
        pruner.observe(index, torch.ones(5), outputs)
    assert pruner.num_observed == 0


def test_the_mean_loss_needs_no_outputs() -> None:
    pruner = recording("mean_loss")
    for epoch in range(2):
        pruner.begin_epoch(epoch)
        observe(pruner, torch.full((10,), 1.0 + epoch))
    pruner.sync()
    assert set(pruner.stats["mean_loss"][pruner.stats.seen].tolist()) <= {1.0, 1.5, 2.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    pruner = recording(keep=1.0)
    losses, logits = TASK.batch(pruner.begin_epoch(0).index, epoch=0)
    pruner.observe(pruner.plan.index, losses.to(dtype), logits.to(dtype))
    pruner.sync()
    exact = recording(keep=1.0)
    exact.observe(exact.begin_epoch(0).index, losses, logits)
    exact.sync()
    assert pruner.stats["mean_margin"].tolist() == pytest.approx(exact.stats["mean_margin"].tolist(), abs=0.02)


def test_a_smoothed_loss_is_warned_of_once(raises: Raises) -> None:
    pruner = recording(keep=1.0)
    labels = torch.zeros(10, dtype=torch.int64)
    logits = torch.eye(5)[labels] * 9
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
    pruner.begin_epoch(0)
    observe(pruner, losses, logits)
    with pytest.warns(MethodWarning) as caught:
        pruner.begin_epoch(1)
    assert len(caught) == 1
    observe(pruner, losses, logits)
    pruner.sync()  # warnings are errors here
    raises.message(str(caught[0].message))


def test_what_the_score_sees_is_recorded() -> None:
    pruner = recording(keep=1.0)
    index = pruner.begin_epoch(0).index
    losses, logits = TASK.batch(index, epoch=0)
    pruner.reduce(index, 2 * losses, logits, score_losses=losses)
    pruner.sync()
    assert pruner.stats["mean_loss"][index].equal(losses)


def test_a_run_that_starts_from_another_records_its_own() -> None:
    earlier = recording()
    run_epochs(earlier, TASK, multiple_of=1)
    later = recording(initial=earlier.state_dict())
    assert later.stats["recorded"].tolist() == [0] * 10
    plain = make_pruner()
    run_epochs(plain, TASK, multiple_of=1)
    assert recording(initial=plain.state_dict()).stats.seen.all()


def test_with_a_pruner_of_its_own_a_loader_takes_no_record(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="record", value="all"):
        emprune.ArrayLoader((torch.zeros(10),), recording(None), batch_size=5, record="all")
    loader = emprune.ArrayLoader((torch.zeros(10),), "random", batch_size=5, num_epochs=1, keep=1.0, record="all")
    assert loader.pruner.recording.names == ALL
