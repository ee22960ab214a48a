"""A run that was stopped after any batch goes on as if it had not been."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune
from emprune.data.planned import PlannedLoader
from emprune.testing import assert_same_state, through_disk
from tests.data.datasets import Positions
from tests.data.helpers import loss_of, make_loader, make_pruner, train

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")

SIZE, NUM_EPOCHS, BATCH_SIZE, ACCUMULATION = 26, 5, 4, 2
METHODS: dict[str, tuple[Callable[[], emprune.Method], float]] = {
    "full": (emprune.Full, 1.0),
    "random": (emprune.Random, 0.4),
    "random-permutation": (emprune.RandomPermutation, 0.4),
    "static-random": (emprune.methods.StaticRandom, 0.4),
    "static-subset": (lambda: emprune.methods.StaticSubset(torch.arange(26.0).cos()), 0.4),
    "greedy": (emprune.Greedy, 0.4),
    "epsilon-greedy": (emprune.methods.EpsilonGreedy, 0.4),
    "ucb": (emprune.methods.UCB, 0.4),
    "infobatch": (emprune.InfoBatch, 0.4),
    "emp": (emprune.EMP, 0.4),
    "emp, pool": (lambda: emprune.EMP(pool=2), 0.4),
}


class Run:
    """A training run whose losses depend on everything that was trained on before."""

    def __init__(self, method: str, kind: str, **options: Any) -> None:
        make, keep = METHODS[method]
        self.pruner = emprune.DataPruner(
            make(), num_samples=SIZE, num_epochs=NUM_EPOCHS, keep=keep, tail_epochs=int(keep != 1), seed=1
        )
        self.loader = self._make_loader(kind, options)
        self.place: Any = self.loader
        if kind == "stateful inside":
            assert isinstance(self.loader, emprune.PrunedLoader)
            self.place = self.loader.loader
        self.model = torch.nn.Linear(2, 3)
        with torch.no_grad():
            self.model.weight.copy_(torch.arange(6.0).view(3, 2).sin())
            self.model.bias.zero_()
        self.batch = 0
        self.delivered: list[int] = []

    def _make_loader(self, kind: str, options: dict[str, Any]) -> PlannedLoader:
        if kind == "arrays":
            arrays = (torch.arange(SIZE),)
            return emprune.ArrayLoader(arrays, self.pruner, batch_size=BATCH_SIZE, accumulation=ACCUMULATION)
        cls = DataLoader if kind == "plain" else StatefulDataLoader
        loader = cls(Positions(SIZE), batch_size=BATCH_SIZE, shuffle=True, **options)
        return emprune.PrunedLoader(loader, self.pruner, accumulation=ACCUMULATION)

    def finish(self, after_batch: Callable[[], bool | None] = lambda: None) -> None:
        """Train to the end of the run, or until `after_batch` returns True."""
        for epoch in range(max(0, self.pruner.epoch), NUM_EPOCHS):
            self.loader.set_epoch(epoch)
            num_batches = len(self.loader)
            for index, batch in self.loader:
                position = batch if isinstance(batch, Tensor) else batch[0]
                assert position.equal(index)
                self._train(index, last=self.batch + 1 == num_batches)
                if after_batch():
                    return
            assert self.batch == num_batches
            self.batch = 0

    def _train(self, index: Tensor, *, last: bool) -> None:
        x = torch.stack([index.sin(), (index * 2).cos()], dim=1)
        logits = self.model(x)
        losses = F.cross_entropy(logits, index % 3, reduction="none")
        self.pruner.reduce(index, losses, logits).backward()
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

    def save(self) -> Any:
        grads = [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
        user = (self.model.state_dict(), grads, self.batch)
        return through_disk((self.pruner.state_dict(), self.place.state_dict(), user))

    def load(self, saved: Any) -> "Run":
        pruner, place, (model, grads, self.batch) = saved
        self.pruner.load_state_dict(pruner)
        self.place.load_state_dict(place)
        self.model.load_state_dict(model)
        for parameter, grad in zip(self.model.parameters(), grads, strict=True):
            parameter.grad = grad
        self.delivered = []
        return self

    def assert_ends_as(self, whole: "Run", num_done: int) -> None:
        self.finish()
        assert self.delivered == whole.delivered[num_done:]
        assert_same_state(self.pruner.state_dict(), whole.pruner.state_dict())
        assert_same_state(dict(self.model.state_dict()), dict(whole.model.state_dict()))


def _whole(method: str, kind: str, **options: Any) -> tuple[Run, list[tuple[int, Any]]]:
    """An uninterrupted run, and what it saved after every batch: samples done, state."""
    run, saves = Run(method, kind, **options), []
    run.finish(lambda: saves.append((len(run.delivered), run.save())))
    assert len(saves) > 10
    return run, saves


def test_the_table_holds_every_method() -> None:
    assert {make().name for make, _ in METHODS.values()} >= {
        name
        for name in emprune.methods.method_names()
        if emprune.methods.method_class(name).__module__.startswith("emprune.")
    }


@pytest.mark.parametrize("kind", ["plain", "arrays", "stateful", "stateful inside"])
@pytest.mark.parametrize("method", METHODS)
def test_after_every_batch(method: str, kind: str) -> None:
    whole, saves = _whole(method, kind)
    for num_done, saved in saves:
        Run(method, kind).load(saved).assert_ends_as(whole, num_done)


@pytest.mark.parametrize("method", METHODS)
def test_after_every_batch_with_workers_that_stay(method: str) -> None:
    """Rewinds one and the same run, so that the workers need to start only once."""
    whole, saves = _whole(method, "plain", num_workers=2, persistent_workers=True)
    again = Run(method, "plain", num_workers=2, persistent_workers=True)
    for num_done, saved in saves:
        again.load(saved).assert_ends_as(whole, num_done)


@pytest.mark.parametrize("kind", ["plain", "stateful", "stateful inside"])
def test_after_every_batch_with_fresh_workers(kind: str) -> None:
    options = {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 2}
    whole, saves = _whole("emp", kind, **options)
    for num_done, saved in saves:
        Run("emp", kind, **options).load(saved).assert_ends_as(whole, num_done)


@pytest.mark.parametrize("method", ["random", "infobatch", "emp"])
def test_after_a_break_at_every_batch(method: str) -> None:
    whole, saves = _whole(method, "plain")
    for stop, _ in saves:
        run = Run(method, "plain")
        run.finish(lambda run=run, stop=stop: len(run.delivered) == stop)  # type: ignore[misc]
        Run(method, "plain").load(run.save()).assert_ends_as(whole, stop)


def test_from_one_kind_of_loader_to_another() -> None:
    whole, saves = _whole("emp", "plain", num_workers=2, persistent_workers=True)
    for num_done, saved in saves:
        Run("emp", "arrays").load(saved).assert_ends_as(whole, num_done)


def test_a_place_saved_between_epochs() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    fresh = pruner.state_dict(), loader.state_dict()
    loader.set_epoch(0)
    train(pruner, loader)
    done = pruner.state_dict(), loader.state_dict()

    resumed = make_pruner()
    loader = make_loader(resumed)
    resumed.load_state_dict(done[0])
    loader.load_state_dict(done[1])
    loader.set_epoch(0)
    assert train(resumed, loader) == []
    assert train(resumed, loader) == resumed.plan.index.tolist()
    resumed.load_state_dict(done[0])
    loader.load_state_dict(done[1])
    loader.set_epoch(1)
    assert train(resumed, loader) == resumed.plan.index.tolist()

    resumed.load_state_dict(fresh[0])
    loader.load_state_dict(fresh[1])
    assert loader.state_dict() == fresh[1]
    with pytest.raises(emprune.errors.EpochError, match="got no epoch yet"):
        iter(loader)
    loader.set_epoch(0)
    assert train(resumed, loader) == pruner.plan.index.tolist()


def test_a_failing_pass_after_resuming_starts_at_the_place_again() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    loader.set_epoch(0)
    index, _ = next(held := iter(loader))
    pruner.observe(index, loss_of(index))
    place = loader.state_dict()
    del held
    loader.load_state_dict(place)
    for index, _ in loader:
        pruner.observe(index, loss_of(index))
        break
    assert loader.state_dict()["num_delivered"] == 8
    assert train(pruner, loader) == pruner.plan.index[4:].tolist()
    assert train(pruner, loader) == pruner.plan.index.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 1}, r"The loader's place is in epoch 1, the pruner is in epoch 0\. Load the pruner's state first"),
        ({"epoch": -1, "plan": None}, r"The loader's place is in epoch -1, the pruner is in epoch 0"),
        ({"plan": "0"}, r"The loader's place is in another plan of epoch 0 than the pruner's\. Load the pruner's"),
        (
            {"num_delivered": -4},
            r"The loader's place, -4 samples, is not in this epoch's plan of \d+ samples",
        ),
        ({"num_delivered": 999}, r"The loader's place, 999 samples, is not in this epoch's plan"),
        (
            {"ahead": [999], "world_size": 2},
            r"The loader's place was saved on 2 rank\(s\) with batches delivered out of turn: got 1 rank\(s\) here\.",
        ),
        ({"ahead": [999]}, r"The loader's place holds sample 999, which is not in this epoch's plan"),
        ({"more": 1}, r"This is not a loader's state: got the keys \['ahead', 'epoch', 'more', "),
        (None, r"This is not a loader's state: got a NoneType\. Pass what loader\.state_dict\(\) returned"),
    ],
)
def test_a_place_that_is_refused(change: dict[str, Any] | None, message: str) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    loader.set_epoch(0)
    for index, _ in loader:
        pruner.observe(index, loss_of(index))
        break
    before = loader.state_dict()
    state: Any = None if change is None else {**before, **change}
    with pytest.raises(emprune.errors.StateError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == before
    assert train(pruner, loader) == pruner.plan.index.tolist()


def test_the_place_of_another_run_is_refused() -> None:
    pruner, other = make_pruner(), make_pruner(seed=1)
    loader, another = make_loader(pruner), make_loader(other)
    loader.set_epoch(0)
    another.set_epoch(0)
    with pytest.raises(emprune.errors.StateError, match="another plan of epoch 0"):
        another.load_state_dict(loader.state_dict())
    with pytest.raises(emprune.errors.StateError, match="not a loader's state"):
        loader.load_state_dict(pruner.state_dict())


def test_skipping_twice_is_refused() -> None:
    run = Run("emp", "stateful inside")
    saves: list[Any] = []
    run.finish(lambda: saves.append((run.loader.state_dict(), run.save())) or len(saves) == 1)  # type: ignore[func-returns-value]
    place, saved = saves[0]
    resumed = Run("emp", "stateful inside").load(saved)
    resumed.loader.load_state_dict(place)
    with pytest.raises(emprune.errors.EpochError, match=r"do both emprune and a framework skip batches on resuming"):
        resumed.finish()


@pytest.mark.parametrize("options", [{}, {"num_workers": 1}], ids=["in process", "worker"])
def test_a_framework_asks_the_loader_inside_for_its_state_before_the_first_batch(options: dict[str, Any]) -> None:
    run = Run("emp", "stateful", **options)
    assert isinstance(run.loader, emprune.PrunedLoader)
    inside: Any = run.loader.loader
    if options:
        with pytest.raises(emprune.errors.EpochError, match="set_epoch"):
            inside.state_dict()
    run.loader.set_epoch(0)
    inside.state_dict()
    run.loader.set_epoch(0)
    run.finish()
    run.pruner.sync()
    assert len(run.delivered) == int(run.pruner.stats["visits"].sum()) == run.pruner.state_dict()["spent"]


@pytest.mark.parametrize(("num_batches", "message"), [(1, "do not follow the plan"), (2, "ended 7 samples before")])
def test_a_place_of_another_epoch_skips_nothing_of_a_new_plan(num_batches: int, message: str) -> None:
    run = Run("greedy", "stateful inside")
    run.finish(lambda: run.batch == num_batches)
    pruner, place, _ = run.save()
    other = Run("greedy", "stateful inside")
    other.pruner.load_state_dict(pruner)
    other.loader.set_epoch(1)  # the place is in epoch 0
    other.place.load_state_dict(place)
    with pytest.raises(emprune.errors.EpochError, match=message):
        list(other.loader)
