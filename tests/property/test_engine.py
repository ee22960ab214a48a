"""Any sequence of calls: a pruner that is synced, saved and loaded at any moment does as one that is left alone."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import emprune
from emprune.testing import SyntheticTask, assert_same_state, through_disk
from tests.property.strategies import METHODS


class Engine(RuleBasedStateMachine):
    """`pruner` is disturbed, `quiet` is not."""

    @initialize(name=st.sampled_from(sorted(METHODS)), num_samples=st.integers(2, 20), seed=st.integers(0, 9))
    def start(self, name: str, num_samples: int, seed: int) -> None:
        self.make = lambda: emprune.DataPruner(
            METHODS[name](num_samples), num_samples=num_samples, num_epochs=9, keep=0.6, seed=seed
        )
        self.task = SyntheticTask(num_samples=num_samples)
        self.pruner, self.quiet = self.make(), self.make()
        self.plan = self.pruner.begin_epoch(0)
        assert self.quiet.begin_epoch(0) == self.plan
        self.place = 0

    @precondition(lambda self: self.place < len(self.plan))
    @rule(size=st.integers(1, 8))
    def observe(self, size: int) -> None:
        index = self.plan.index[self.place : self.place + size]
        self.place += size
        for pruner in (self.pruner, self.quiet):
            pruner.observe(index, *self.task.batch(index, epoch=self.plan.epoch))

    @precondition(lambda self: self.place > 0 and self.plan.epoch < 8)
    @rule(multiple_of=st.integers(1, 5))
    def next_epoch(self, multiple_of: int) -> None:
        for pruner in (self.pruner, self.quiet):
            pruner.observe_validation(**self.task.validation(epoch=self.plan.epoch))
        self.plan = self.pruner.begin_epoch(self.plan.epoch + 1, multiple_of=multiple_of)
        assert self.quiet.begin_epoch(self.plan.epoch, multiple_of=multiple_of) == self.plan
        self.place = 0

    @rule()
    def sync(self) -> None:
        self.pruner.sync()

    @rule()
    def save_and_load(self) -> None:
        state = through_disk(self.pruner.state_dict())
        self.pruner = self.make()
        self.pruner.load_state_dict(state)
        self.plan = self.pruner.plan

    @rule(epoch=st.integers(-2, 12))
    def ask_for_an_epoch_out_of_order(self, epoch: int) -> None:
        if epoch in (self.plan.epoch, self.plan.epoch + 1):
            return
        try:
            self.pruner.begin_epoch(epoch)
        except emprune.errors.EpochError:
            return
        raise AssertionError("an epoch out of order was planned")

    @rule()
    def observe_what_is_not_planned(self) -> None:
        index = torch.tensor([self.task.num_samples])
        try:
            self.pruner.observe(index, *self.task.batch(torch.tensor([0]), epoch=0))
        except emprune.errors.ObservationError:
            return
        raise AssertionError("an observation out of range was taken")

    @rule()
    def look(self) -> None:
        self.pruner.summary()
        assert self.pruner.visits.equal(self.quiet.visits)

    @invariant()
    def the_plan_is_frozen(self) -> None:
        assert self.pruner.begin_epoch(self.plan.epoch) is self.plan
        assert self.plan == self.quiet.plan

    def teardown(self) -> None:
        if hasattr(self, "quiet"):
            self.pruner.sync()
            self.quiet.sync()
            assert_same_state(self.pruner.state_dict(), self.quiet.state_dict())


TestEngine = Engine.TestCase
TestEngine.settings = settings(stateful_step_count=25)
