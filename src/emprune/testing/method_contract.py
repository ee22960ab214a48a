"""The contract of a method, as a class of pytest tests."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner
from emprune.testing.states import assert_same_state, global_randomness, through_disk
from emprune.testing.synthetic import SyntheticTask, asking_for, run_epochs, selection_of, train_epoch

__all__ = ["MethodContract"]


class MethodContract:
    """The requirements for every method. Subclass it, make your method in it, and let pytest collect it.

    Attributes:
        keep: The cost of the runs.
        num_epochs: The length of the runs. At `keep=0.3` all samples have been seen after four epochs.
        num_samples: The size of the synthetic dataset.

    Example:
        >>> import emprune
        >>> class TestGreedy(MethodContract):
        ...     def make_method(self, num_samples: int) -> emprune.Method:
        ...         return emprune.Greedy()
    """

    keep: float = 0.3
    num_epochs: int = 8
    num_samples: int = 97

    def make_method(self, num_samples: int) -> Method:
        """Return the method under test, for a dataset of this size."""
        raise NotImplementedError("Subclass MethodContract and return your method here.")

    def make_pruner(self, *, seed: int = 0, num_samples: int | None = None, keep: float | None = None) -> DataPruner:
        """Return a new pruner for the method under test, with the class's size and cost by default."""
        size = num_samples or self.num_samples
        return DataPruner(
            self.make_method(size), num_samples=size, num_epochs=self.num_epochs, keep=keep or self.keep, seed=seed
        )

    def make_task(self, *, num_samples: int | None = None, constant: bool = False) -> SyntheticTask:
        """Return the synthetic training run that the method observes."""
        return SyntheticTask(num_samples=num_samples or self.num_samples, constant=constant)

    def make_run(self, *, seed: int = 0) -> list[EpochPlan]:
        """Return the plans of a whole run."""
        return run_epochs(self.make_pruner(seed=seed), self.make_task())

    # Cost and validity of the plans.

    @pytest.mark.parametrize("multiple_of", [1, 8, 50])
    def test_every_epoch_has_its_planned_size(self, multiple_of: int) -> None:
        pruner = self.make_pruner()
        plans = run_epochs(pruner, self.make_task(), multiple_of=multiple_of)
        sizes = [len(plan) for plan in plans]
        assert sizes == pruner.schedule.num_kept_per_epoch(multiple_of=multiple_of)
        assert abs(sum(sizes) - self.keep * self.num_samples * self.num_epochs) <= multiple_of

    def test_a_plan_holds_each_sample_at_most_once_and_in_range(self) -> None:
        for plan in self.make_run():
            assert plan.index.dtype == torch.int64
            assert len(plan) == len(plan.index) == len(plan.index.unique()) > 0
            assert 0 <= int(plan.index.min()) <= int(plan.index.max()) < self.num_samples

    def test_weights_are_finite_and_positive(self) -> None:
        for plan in self.make_run():
            if plan.weight is not None:
                assert plan.weight.dtype == torch.float32
                assert plan.weight.shape == plan.index.shape
                assert bool((plan.weight.isfinite() & (plan.weight > 0)).all())

    def test_unseen_samples_come_first_and_at_weight_1(self) -> None:
        pruner, task = self.make_pruner(), self.make_task()
        if not pruner.method.scores:
            pytest.skip("The method does not score.")
        seen: set[int] = set()
        for epoch in range(self.num_epochs):
            plan = pruner.begin_epoch(epoch)
            new = torch.tensor([int(i) not in seen for i in plan.index])
            assert int(new.count_nonzero()) == min(len(plan), self.num_samples - len(seen))
            if plan.weight is not None:
                assert bool((plan.weight[new] == 1).all())
            train_epoch(pruner, task)
            seen.update(plan.index.tolist())

    def test_a_partial_epoch_is_allowed(self) -> None:
        pruner, task = self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            plan = pruner.begin_epoch(epoch)
            train_epoch(pruner, task, batch_size=3, stop=3)
            assert len(plan.index.unique()) == len(plan)
        assert int(pruner.visits.sum()) == 3 * self.num_epochs

    def test_scores_are_finite_where_seen(self) -> None:
        pruner = self.make_pruner()
        run_epochs(pruner, self.make_task(), stop=2)
        pruner.sync()
        scores = pruner.method.score(pruner.stats)
        assert scores.shape == (self.num_samples,)
        assert scores.dtype == torch.float32
        if pruner.method.scores:
            assert bool(scores[pruner.stats.seen].isfinite().all())

    # Randomness.

    def test_the_same_seed_gives_the_same_run(self) -> None:
        assert self.make_run(seed=3) == self.make_run(seed=3)

    def test_another_seed_gives_another_run(self) -> None:
        pairs = zip(self.make_run(seed=3), self.make_run(seed=4), strict=True)
        assert all(one != other for one, other in pairs)

    def test_the_global_generators_are_neither_read_nor_changed(self) -> None:
        expected = self.make_run()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(123)
            before = global_randomness()
            assert self.make_run() == expected
            assert global_randomness() == before

    def test_ties_are_not_broken_by_position(self) -> None:
        num_samples = 400
        pruner = self.make_pruner(num_samples=num_samples)
        plans = run_epochs(pruner, self.make_task(num_samples=num_samples, constant=True))
        for plan in plans:
            spread = num_samples * ((1 / len(plan) - 1 / num_samples) / 12) ** 0.5
            assert abs(float(plan.index.double().mean()) - (num_samples - 1) / 2) <= 5 * spread

    # The epoch protocol.

    def test_planning_again_gives_the_same_object(self) -> None:
        pruner, task = self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            plan = pruner.begin_epoch(epoch)
            assert pruner.begin_epoch(epoch) is plan
            train_epoch(pruner, task)
            assert pruner.begin_epoch(epoch) is plan

    def test_planning_changes_nothing_that_is_remembered(self) -> None:
        pruner, task = self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            before = through_disk(pruner.state_dict()["columns"])
            pruner.begin_epoch(epoch)
            assert_same_state(pruner.state_dict()["columns"], before)
            train_epoch(pruner, task)
            pruner.sync()

    def test_sync_in_mid_epoch_changes_neither_the_plan_nor_the_outcome(self) -> None:
        synced, plain, task = self.make_pruner(), self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            plan = synced.begin_epoch(epoch)
            assert plan == plain.begin_epoch(epoch)
            fingerprint, weights = plan.fingerprint, synced.weights(plan.index)
            train_epoch(synced, task, stop=8)
            synced.sync()
            assert synced.begin_epoch(epoch) is plan
            assert EpochPlan(plan.epoch, plan.index, plan.weight, plan.num_samples).fingerprint == fingerprint
            assert synced.weights(plan.index).equal(weights)
            train_epoch(synced, task, start=8)
            train_epoch(plain, task)
        synced.sync()
        plain.sync()
        assert_same_state(synced.state_dict(), plain.state_dict())

    # Observations.

    def test_the_order_of_observations_is_irrelevant(self) -> None:
        forwards, backwards, task = self.make_pruner(), self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            plan = forwards.begin_epoch(epoch)
            assert plan == backwards.begin_epoch(epoch)
            train_epoch(forwards, task)
            for index in reversed(plan.index.split(5)):
                losses, logits = task.batch(index, epoch=epoch)
                backwards.observe(index, losses, logits)
            backwards.observe_validation(**task.validation(epoch=epoch))
        forwards.sync()
        backwards.sync()
        assert_same_state(forwards.state_dict(), backwards.state_dict())

    def test_a_repeat_overwrites(self) -> None:
        repeated, plain, task = self.make_pruner(), self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            plan = repeated.begin_epoch(epoch)
            assert plan == plain.begin_epoch(epoch)
            wrong = plan.index.flip(0)
            losses, logits = task.batch(wrong, epoch=epoch + self.num_epochs)
            repeated.observe(wrong, losses, logits)
            train_epoch(repeated, task)
            train_epoch(plain, task)
        repeated.sync()
        plain.sync()
        assert_same_state(repeated.state_dict(), plain.state_dict())

    def test_an_epoch_observed_again_after_a_sync_counts_once(self) -> None:
        repeated, plain, task = self.make_pruner(), self.make_pruner(), self.make_task()
        for epoch in range(self.num_epochs):
            assert repeated.begin_epoch(epoch) == plain.begin_epoch(epoch)
            train_epoch(repeated, task)
            repeated.sync()
            train_epoch(repeated, task)
            train_epoch(plain, task)
        repeated.sync()
        plain.sync()
        assert_same_state(repeated.state_dict(), plain.state_dict())

    # Saving.

    def test_resumes_bit_equal_after_every_batch(self) -> None:
        pruner, task, batch_size = self.make_pruner(), self.make_task(), 16
        saves, ends = [], []
        for epoch in range(self.num_epochs):
            plan = pruner.begin_epoch(epoch, multiple_of=batch_size)
            saves.append((plan, 0, through_disk(pruner.state_dict())))
            for place in range(0, len(plan), batch_size):
                train_epoch(pruner, task, start=place, stop=place + batch_size)
                saves.append((plan, place + batch_size, through_disk(pruner.state_dict())))
            ends.append(pruner.state_dict())
        for plan, place, state in saves:
            resumed = self.make_pruner()
            resumed.load_state_dict(state)
            assert_same_state(resumed.state_dict(), state)
            assert resumed.begin_epoch(plan.epoch) == plan
            train_epoch(resumed, task, batch_size=batch_size, start=place)
            # From an epoch's start to the run's end; from its middle until all of it has entered the next epoch's plan.
            last = self.num_epochs if place == 0 else min(plan.epoch + 2, self.num_epochs)
            run_epochs(resumed, task, batch_size=batch_size, stop=last)
            assert_same_state(resumed.state_dict(), ends[last - 1])

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
    def test_copies_go_on_as_the_original_does(self, copied: Callable[[DataPruner], DataPruner]) -> None:
        pruner, task = self.make_pruner(), self.make_task()
        twins = [copied(pruner)]
        run_epochs(pruner, task, stop=self.num_epochs - 2)
        twins.append(copied(pruner))
        run_epochs(pruner, task)
        for twin in twins:
            run_epochs(twin, task)
            assert_same_state(twin.state_dict(), pruner.state_dict())

    def test_settings_are_plain_values_that_say_what_the_method_is(self) -> None:
        settings = self.make_method(self.num_samples).settings()
        assert through_disk(settings) == settings
        assert self.make_method(self.num_samples).settings() == settings
        for copied in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
            assert copied(self.make_method(self.num_samples)).settings() == settings

    # Edge cases.

    @pytest.mark.parametrize("num_samples", [1, 2, 12])
    def test_keeping_everything_keeps_everything(self, num_samples: int) -> None:
        pruner = self.make_pruner(num_samples=num_samples, keep=1.0)
        plan = pruner.begin_epoch(0)
        assert plan.index.sort().values.tolist() == list(range(num_samples))
        assert plan.weight is None
        train_epoch(pruner, self.make_task(num_samples=num_samples))
        pruner.sync()
        selection = selection_of(pruner, num_samples)
        assert selection.index.sort().values.tolist() == list(range(num_samples))
        if selection.weight is not None:
            assert selection.weight.tolist() == pytest.approx([1.0] * num_samples)

    @pytest.mark.parametrize("asked", ["equal", "floor", "pinned", "weights", "guard"])
    def test_it_chooses_from_a_part_of_the_data(self, asked: str) -> None:
        method, size = self.make_method(self.num_samples), self.num_samples
        if self.keep == 1 or (asked == "weights" and not method.takes_weights):
            pytest.skip("The method visits everything, or has a fixed order.")
        if asked == "guard" and not method.scores:
            pytest.skip("The method prefers no sample.")
        labels, options = asking_for(asked, size)
        pruner = DataPruner(
            method, num_samples=size, num_epochs=self.num_epochs, keep=self.keep, tail_epochs=0, **options
        )
        plans, sizes = run_epochs(pruner, self.make_task(), multiple_of=1), pruner.schedule.num_kept_per_epoch()
        for plan, num_kept in zip(plans, sizes, strict=True):
            counts, most = torch.bincount(labels[plan.index], minlength=3), torch.bincount(labels)
            assert len(plan) == len(plan.index.unique()) == num_kept
            assert asked != "equal" or bool((counts >= (counts.max() - 1).clamp(max=most)).all())
            assert asked != "floor" or bool((counts >= 0.2 * most).all())
            assert asked != "pinned" or {3, 5} <= set(plan.index.tolist())

    def test_one_sample_in_an_epoch(self) -> None:
        if self.keep == 1:
            pytest.skip("The method's cost cannot be chosen.")
        pruner = self.make_pruner(num_samples=5, keep=0.2)
        plans = run_epochs(pruner, self.make_task(num_samples=5), batch_size=1)
        assert [len(plan) for plan in plans] == [1] * self.num_epochs
