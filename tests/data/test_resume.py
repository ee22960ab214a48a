"""A run that stopped at any moment goes on as if it had not: every state that looks saveable, at every moment.

The matrix of this file is state × moment × loader × workers, on one rank; tests/distributed has it on several, and
tests/integration has it for the frameworks' own checkpoints.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune
from emprune.data.planned import PlannedLoader
from emprune.testing import assert_same_state, through_disk
from tests.data.datasets import Positions
from tests.data.helpers import loss_of, make_loader, make_pruner, train
from tests.messages import Raises

pytestmark = pytest.mark.filterwarnings(
    "ignore:'set_vital' is deprecated:UserWarning",
    "ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning",
)

SIZE, NUM_EPOCHS, BATCH_SIZE, ACCUMULATION = 26, 5, 4, 2
Kind = Literal["plain", "stateful", "arrays"]
KINDS: tuple[Kind, ...] = ("plain", "stateful", "arrays")
METHODS: dict[str, Callable[[], emprune.Method]] = {
    "full": emprune.Full,
    "random": emprune.Random,
    "random-permutation": emprune.RandomPermutation,
    "static-random": emprune.methods.StaticRandom,
    "static-subset": lambda: emprune.methods.StaticSubset(torch.arange(26.0).cos()),
    "greedy": emprune.Greedy,
    "epsilon-greedy": emprune.methods.EpsilonGreedy,
    "ucb": emprune.methods.UCB,
    "infobatch": emprune.InfoBatch,
    "order-dp": emprune.methods.OrderDP,
    "soft": lambda: emprune.methods.SoftSelection(by="percentile", final_strength=3),
    "reducible-loss": lambda: emprune.methods.ReducibleLoss(torch.arange(26.0).cos()),
    "kakurenbo": emprune.methods.Kakurenbo,
    "seta": emprune.methods.SeTa,
    "emp": emprune.EMP,
    "emp, no pool": lambda: emprune.EMP(pool=None),
}
UNLIKE = ["emp", "infobatch", "soft"]
"""Methods that differ in what a loader delivers and saves: a memory, weights, a strength that follows the run."""


class Run:
    """A training run whose losses depend on everything that was trained on before."""

    def __init__(self, method: str, kind: Kind = "plain", **options: Any) -> None:
        budget: dict[str, Any] = {"num_epochs": NUM_EPOCHS, "seed": 1, "accumulation": ACCUMULATION}
        if method != "full":
            budget |= {"keep": 0.4, "tail_epochs": 1}
        self.loader: PlannedLoader
        if kind == "arrays":
            arrays = (torch.arange(SIZE),)
            self.loader = emprune.ArrayLoader(arrays, METHODS[method](), batch_size=BATCH_SIZE, **budget)
        else:
            cls = DataLoader if kind == "plain" else StatefulDataLoader
            dataloader = cls(Positions(SIZE), batch_size=BATCH_SIZE, shuffle=True, **options)
            self.loader = emprune.PrunedLoader(dataloader, METHODS[method](), **budget)
        self.pruner = self.loader.pruner
        self.model = torch.nn.Linear(2, 3)
        with torch.no_grad():
            self.model.weight.copy_(torch.arange(6.0).view(3, 2).sin())
            self.model.bias.zero_()
        self.batch = 0
        self.delivered: list[int] = []
        self.epochs_ended: list[int] = []

    def moments(self) -> Iterator[str]:
        """Train to the end of the run, stopping where a state may be saved."""
        yield "before the first epoch"
        for epoch in self.loader.epochs():
            yield "before the first batch"
            for index, batch in self.loader:
                position = batch if isinstance(batch, Tensor) else batch[0]
                assert position.equal(index)
                self._train(index, last=self.batch + 1 == len(self.loader))
                yield "in mid-epoch" if self.batch < len(self.loader) else "after the last batch"
            assert self.batch == len(self.loader)
            self.batch = 0
            self.epochs_ended.append(epoch)
            yield "after the loop"
        yield "after the run"

    def finish(self) -> "Run":
        for _ in self.moments():
            pass
        return self

    def _train(self, index: Tensor, *, last: bool) -> None:
        x = torch.stack([index.sin(), (index * 2).cos()], dim=1)
        logits = self.model(x)
        losses = F.cross_entropy(logits, index % 3, reduction="none")
        self.loader.reduce(index, losses, logits).backward()
        self.batch += 1
        self.delivered += index.tolist()
        if self.batch % ACCUMULATION == 0 or last:
            self._step()

    @torch.no_grad()
    def _step(self) -> None:
        """Plain SGD; torch.optim would cost seconds of import."""
        for parameter in self.model.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.3 * parameter.grad)
            parameter.grad = None

    def user_state(self) -> Any:
        grads = [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
        return copy.deepcopy((self.model.state_dict(), grads, self.batch, self.delivered, self.epochs_ended))

    def load_user_state(self, saved: Any) -> None:
        model, grads, self.batch, self.delivered, self.epochs_ended = copy.deepcopy(saved)
        self.model.load_state_dict(model)
        for parameter, grad in zip(self.model.parameters(), grads, strict=True):
            parameter.grad = grad

    def assert_ends_as(self, whole: "Run") -> None:
        self.finish()
        assert self.delivered == whole.delivered
        assert self.epochs_ended == whole.epochs_ended == list(range(NUM_EPOCHS))
        assert_same_state(self.loader.state_dict(), whole.loader.state_dict())
        assert_same_state(dict(self.model.state_dict()), dict(whole.model.state_dict()))


def _inside(run: Run) -> Any:
    assert isinstance(run.loader, emprune.PrunedLoader)
    return run.loader.loader


def _load_both(run: Run, pruner: Any, loader: Any) -> None:
    run.pruner.load_state_dict(pruner)
    run.loader.load_state_dict(loader)


def _dcp_save(run: Run, folder: Path) -> Path:
    dcp_save({"loader": run.loader}, checkpoint_id=folder)
    return folder


def _dcp_load(run: Run, folder: Path) -> None:
    dcp_load({"loader": run.loader}, checkpoint_id=folder)


Save = Callable[[Run, Path], Any]
Load = Callable[[Run, Any], None]
STATES: dict[str, tuple[Save, Load]] = {
    "the loader's": (
        lambda run, _: through_disk(run.loader.state_dict()),
        lambda run, saved: run.loader.load_state_dict(saved),
    ),
    "the loader's and the pruner's": (
        lambda run, _: through_disk((run.pruner.state_dict(), run.loader.state_dict())),
        lambda run, saved: _load_both(run, *saved),
    ),
    "the StatefulDataLoader's inside": (
        lambda run, _: through_disk(_inside(run).state_dict()),
        lambda run, saved: _inside(run).load_state_dict(saved),
    ),
    "torch.distributed.checkpoint": (_dcp_save, _dcp_load),
}


def _check(
    state: str, method: str, kind: Kind, folder: Path, *, rewind: bool = False, every: int = 1, **options: Any
) -> None:
    """Save at every moment of a run; go on from each, or every so many, in a new run, or in one that is rewound."""
    save, load = STATES[state]
    whole, saves, moments = Run(method, kind, **options), [], set()
    for number, moment in enumerate(whole.moments()):
        moments.add(moment)
        saves.append((save(whole, folder / str(number)), whole.user_state()))
    assert len(moments) == 6
    again = Run(method, kind, **options)
    for saved, user in saves[::every]:
        run = again if rewind else Run(method, kind, **options)
        load(run, saved)
        run.load_user_state(user)
        run.assert_ends_as(whole)


def test_the_table_holds_every_method() -> None:
    assert {make().name for make in METHODS.values()} >= {
        name
        for name in emprune.methods.method_names()
        if emprune.methods.method_class(name).__module__.startswith("emprune.")
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_method_at_every_moment(method: str, tmp_path: Path) -> None:
    _check("the loader's", method, "plain", tmp_path)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("method", UNLIKE)
def test_every_loader_at_every_moment(method: str, kind: Kind, tmp_path: Path) -> None:
    _check("the loader's", method, kind, tmp_path)


@pytest.mark.parametrize("state", STATES)
def test_every_state_at_every_moment(state: str, tmp_path: Path) -> None:
    _check(state, "emp", "stateful", tmp_path)


@pytest.mark.parametrize("method", UNLIKE)
def test_every_moment_with_workers_that_stay(method: str, tmp_path: Path) -> None:
    """Rewinds one and the same run, so that the workers need to start only once."""
    _check("the loader's", method, "plain", tmp_path, rewind=True, num_workers=2, persistent_workers=True)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("kind", "num_workers"), [("plain", 0), ("plain", 2), ("stateful", 0), ("stateful", 2), ("arrays", 0)]
)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("state", STATES)
def test_the_whole_matrix(state: str, method: str, kind: Kind, num_workers: int, tmp_path: Path) -> None:
    if kind != "stateful" and state == "the StatefulDataLoader's inside":
        pytest.skip("only a StatefulDataLoader has a state")
    options: dict[str, Any] = {"num_workers": 2, "persistent_workers": True} if num_workers else {}
    _check(state, method, kind, tmp_path, rewind=num_workers > 0, **options)


@pytest.mark.parametrize("kind", ["plain", "stateful"])
def test_a_new_run_with_workers_goes_on_from_moments_of_every_kind(kind: Kind, tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 2}
    _check("the loader's", "emp", kind, tmp_path, every=11, **options)


def test_from_one_kind_of_loader_to_another() -> None:
    whole = Run("emp", "plain")
    saves = [(through_disk(whole.loader.state_dict()), whole.user_state()) for _ in whole.moments()]
    for saved, user in saves:
        run = Run("emp", "arrays")
        run.loader.load_state_dict(saved)
        run.load_user_state(user)
        run.assert_ends_as(whole)


@pytest.mark.parametrize("method", ["random", "greedy"])
def test_a_batch_counts_once_it_is_handed_out_whether_or_not_it_is_observed(method: str) -> None:
    run = Run(method)
    run.loader.set_epoch(0)
    for index, _ in run.loader:
        assert run.loader.state_dict()["delivery"]["num_delivered"] == len(index) == BATCH_SIZE
        break
    run.pruner.observe(index, loss_of(index))
    assert run.loader.state_dict()["delivery"]["num_delivered"] == BATCH_SIZE


def test_collecting_an_iterator_changes_nothing() -> None:
    loader = Run("greedy").loader
    loader.set_epoch(0)
    held = iter(loader)
    next(held)
    before = loader.state_dict()
    del held
    assert_same_state(loader.state_dict(), before)


def test_the_range_idiom_is_as_good_as_epochs() -> None:
    whole = Run("greedy")
    states = [whole.loader.state_dict() for _ in whole.moments()]
    for state in states:
        one, other = Run("greedy").loader, Run("greedy").loader
        one.load_state_dict(state)
        other.load_state_dict(state)
        assert list(range(one.start_epoch, NUM_EPOCHS)) == list(range(other.start_epoch, NUM_EPOCHS))
        for epoch in range(one.start_epoch, NUM_EPOCHS):
            one.set_epoch(epoch)
            for index, _ in one:
                one.reduce(index, loss_of(index))
        for _ in other.epochs():
            for index, _ in other:
                other.reduce(index, loss_of(index))
        assert_same_state(one.state_dict(), other.state_dict())


def test_batches_go_on_over_epochs_after_a_load() -> None:
    def run(loader: PlannedLoader, *, stop: int | None = None) -> list[int]:
        seen: list[int] = []
        for count, (index, _) in enumerate(loader.batches(), start=1):
            loader.reduce(index, loss_of(index))
            seen += index.tolist()
            if count == stop:
                break
        return seen

    whole = run(Run("greedy").loader)
    for stop in range(1, 12):
        stopped, resumed = Run("greedy").loader, Run("greedy").loader
        first = run(stopped, stop=stop)
        resumed.load_state_dict(through_disk(stopped.state_dict()))
        assert first + run(resumed) == whole


def test_a_state_of_the_start_is_a_new_run(raises: Raises) -> None:
    loader = Run("greedy").loader
    fresh = loader.state_dict()
    loader.set_epoch(0)
    train(loader.pruner, loader)
    loader.load_state_dict(fresh)
    assert_same_state(loader.state_dict(), fresh)
    assert loader.start_epoch == 0
    with raises(emprune.errors.EpochError, value="no epoch"):
        iter(loader)


def test_a_failing_pass_after_a_load_starts_at_the_loaded_position_again() -> None:
    loader = Run("greedy").loader
    loader.set_epoch(0)
    index, _ = next(iter(loader))
    loader.load_state_dict(loader.state_dict())
    for index, _ in loader:
        loader.reduce(index, loss_of(index))
        break
    assert loader.num_delivered == min(2 * BATCH_SIZE, len(loader.pruner.plan))
    assert train(loader.pruner, loader) == loader.pruner.plan.index[BATCH_SIZE:].tolist()


def _state_and_loader() -> tuple[dict[str, Any], emprune.PrunedLoader]:
    loader = make_loader(make_pruner())
    loader.set_epoch(0)
    for index, _ in loader:
        loader.reduce(index, loss_of(index))
        break
    return loader.state_dict(), loader


@pytest.mark.parametrize(
    ("change", "parameter", "value"),
    [
        ({"plan": "0"}, None, "another plan's"),
        ({"plan": None}, None, "another plan's"),
        ({"num_delivered": -4}, "num_delivered", -4),
        ({"num_delivered": 999}, "num_delivered", 999),
        ({"num_delivered": "4"}, "num_delivered", "'4'"),
        ({"ended": 1}, "ended", 1),
        ({"ahead": [999], "world_size": 2}, None, 1),
        ({"ahead": [999]}, "ahead", 999),
        ({"ahead": None}, "ahead", None),
        ({"world_size": "2"}, "world_size", "2"),
        ({"more": 1}, None, "'more'"),
    ],
    ids=str,
)
def test_a_damaged_delivery_is_refused_and_nothing_is_loaded(
    change: dict[str, Any], parameter: str | None, value: Any, raises: Raises
) -> None:
    state, loader = _state_and_loader()
    damaged = copy.deepcopy(state)
    damaged["delivery"] |= change
    with raises(emprune.errors.StateError, parameter=parameter, value=value):
        loader.load_state_dict(damaged)
    assert_same_state(loader.state_dict(), state)
    assert train(loader.pruner, loader) == loader.pruner.plan.index.tolist()


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (None, "NoneType"),
        ({"epoch": 0, "plan": "0", "num_delivered": 4, "ahead": [], "world_size": 1}, "emprune 0.1"),
        ({"format_version": 9, "pruner": {}, "delivery": {}}, 9),
    ],
    ids=["nothing", "of 0.1", "another version"],
)
def test_what_is_no_loaders_state_is_refused(state: Any, value: Any, raises: Raises) -> None:
    before, loader = _state_and_loader()
    with raises(emprune.errors.StateError, value=value):
        loader.load_state_dict(state)
    assert_same_state(loader.state_dict(), before)


def test_a_damaged_pruner_leaves_the_loader_as_it_was(raises: Raises) -> None:
    state, loader = _state_and_loader()
    damaged = copy.deepcopy(state)
    damaged["pruner"]["epoch"] = 99
    with raises(emprune.errors.StateError, parameter="epoch", value=99):
        loader.load_state_dict(damaged)
    assert_same_state(loader.state_dict(), state)


class Undividable(emprune.PrunedLoader):
    """As on ranks among which the whole of an epoch that was planned for others cannot be divided."""

    refuses = False

    @property
    def _deal(self) -> Any:
        deal = super()._deal

        def dealt(plan: emprune.EpochPlan, *, num_before: int = 0) -> Any:
            if self.refuses and num_before == 0:
                raise emprune.errors.StateError("cannot be divided")
            return deal(plan, num_before=num_before)

        return dealt


def test_an_epoch_that_was_over_need_not_be_divided_among_the_ranks_that_load_it() -> None:
    loader = make_loader(make_pruner())
    loader.set_epoch(0)
    train(loader.pruner, loader)
    other = Undividable(DataLoader(Positions(22), batch_size=4), make_pruner())
    other.refuses = True
    other.load_state_dict(loader.state_dict())
    other.refuses = False
    assert other.start_epoch == 1
    other.set_epoch(1)
    assert train(other.pruner, other) == other.pruner.plan.index.tolist()
