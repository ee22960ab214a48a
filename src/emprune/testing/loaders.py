"""The contract of a loader that follows a pruner's plan, as a class of pytest tests."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from emprune.errors import EpochError, StateError
from emprune.methods.greedy import Greedy
from emprune.pruner import DataPruner
from emprune.testing.loader import Loader
from emprune.testing.states import assert_same_state, global_randomness, through_disk
from emprune.testing.synthetic import loss_at

__all__ = ["Loader", "LoaderContract"]


class LoaderContract:
    """The requirements for every loader. Subclass it, make your loader in it, and let pytest collect it.

    The loader is made over a dataset of `num_samples` samples. Each sample must contain its own position.

    Attributes:
        num_samples: The size of the dataset, N. The batch size does not divide it, so full epochs end with a short one.
        batch_size: Samples per batch, B.
        num_epochs: The length of the runs. Their last epoch is full.

    Example:
        >>> import emprune
        >>> class TestArrayLoader(LoaderContract):
        ...     def make_loader(self, pruner: DataPruner, *, accumulation: int = 1) -> Loader:
        ...         arrays = (torch.arange(pruner.num_samples),)
        ...         return emprune.ArrayLoader(
        ...             arrays, pruner, batch_size=self.batch_size, accumulation=accumulation
        ...         )
        ...
        ...     def positions(self, batch: tuple[Tensor]) -> Tensor:
        ...         return batch[0]
    """

    num_samples: int = 22
    batch_size: int = 4
    num_epochs: int = 5

    def make_loader(self, pruner: DataPruner, *, accumulation: int = 1) -> Loader:
        """Return a new loader around `pruner`, with `self.batch_size`."""
        raise NotImplementedError("Subclass LoaderContract and return your loader here.")

    def positions(self, batch: Any) -> Tensor:
        """Return the (B,) positions that the samples of a delivered batch contain."""
        raise NotImplementedError("Subclass LoaderContract and read the positions from your batch here.")

    def order(self, pruner: DataPruner, loader: Any) -> list[int]:
        """Return this rank's samples of the epoch in the order of delivery. Override it if that is not the plan's.

        It is the same all the epoch long, and known before anything is delivered.
        """
        return pruner.plan.shard(pruner.rank, pruner.world_size).index.tolist()

    def make_pruner(self, *, seed: int = 0) -> DataPruner:
        """Return a new pruner: the runs visit half of the data per epoch, and all of it in the last."""
        return DataPruner(
            Greedy(),
            num_samples=self.num_samples,
            num_epochs=self.num_epochs,
            keep=0.5,
            tail_epochs=1,
            seed=seed,
        )

    def train(self, pruner: DataPruner, loader: Loader) -> list[int]:
        """Observe the rest of the epoch; return the position of each sample in the order of delivery."""
        delivered: list[int] = []
        for index, batch in loader:
            pruner.reduce(index, loss_at(self.positions(batch), pruner.epoch))
            delivered += index.tolist()
        return delivered

    def test_the_index_of_a_batch_says_which_samples_it_holds(self) -> None:
        for pruner, loader in self._epochs():
            for index, batch in loader:
                assert index.dtype == torch.int64
                assert index.cpu().equal(self.positions(batch).cpu())
                pruner.observe(index, loss_at(index, pruner.epoch))

    def test_an_epoch_is_the_plan_in_the_order_of_delivery_and_the_length_says_how_many_batches(self) -> None:
        expected = len(self.make_loader(self.make_pruner()))
        for pruner, loader in self._epochs():
            shard = torch.tensor(self.order(pruner, loader))
            assert pruner.world_size > 1 or sorted(shard.tolist()) == sorted(pruner.plan.index.tolist())
            assert pruner.epoch > 0 or len(loader) == expected
            batches = [index.tolist() for index, _ in loader]
            assert batches == [part.tolist() for part in shard.split(self.batch_size)]
            assert len(batches) == len(loader)
            pruner.observe(shard, loss_at(shard, pruner.epoch))

    @pytest.mark.parametrize("accumulation", [1, 3])
    def test_total_steps_are_those_the_loop_makes(self, accumulation: int) -> None:
        steps, total_steps = 0, 0
        for pruner, loader in self._epochs(accumulation=accumulation):
            for num_batches, (index, _) in enumerate(loader, start=1):
                pruner.observe(index, loss_at(index, pruner.epoch))
                steps += num_batches % accumulation == 0 or num_batches == len(loader)
            total_steps = loader.total_steps
        assert steps == total_steps

    def test_losses_are_remembered_for_the_samples_they_belong_to(self) -> None:
        pruner = self.make_pruner()
        for _, loader in self._epochs(pruner):
            self.train(pruner, loader)
        pruner.sync()
        assert bool(pruner.stats.seen.all())
        expected = loss_at(torch.arange(self.num_samples), self.num_epochs - 1)
        assert pruner.stats["loss"].equal(expected)

    def test_a_second_pass_delivers_all_again_and_moves_nothing(self) -> None:
        for pruner, loader in self._epochs():
            order = self.order(pruner, loader)
            delivered = self.train(pruner, loader)
            state = loader.state_dict()
            assert [i for index, _ in loader for i in index.tolist()] == delivered == order
            assert_same_state(loader.state_dict(), state)

    def test_training_on_an_epoch_twice_is_refused(self) -> None:
        pruner = self.make_pruner()
        loader = self.make_loader(pruner)
        loader.set_epoch(0)
        self.train(pruner, loader)
        with pytest.raises(EpochError, match=r"set_epoch\(1\)"):
            self.train(pruner, loader)

    def test_a_peek_shows_the_next_batch_and_changes_nothing(self) -> None:
        for pruner, loader in self._epochs():
            plan, order = pruner.plan, self.order(pruner, loader)
            state, randomness = loader.state_dict(), global_randomness()
            index, batch = loader.peek()
            assert index.equal(self.positions(batch).cpu())
            assert index.tolist() == order[: self.batch_size]
            assert pruner.plan is plan
            assert_same_state(loader.state_dict(), state)
            assert global_randomness() == randomness
            assert self.train(pruner, loader) == order

    def test_setting_the_epoch_twice_is_setting_it_once(self) -> None:
        for pruner, loader in self._epochs():
            plan = pruner.plan
            loader.set_epoch(pruner.epoch)
            assert pruner.plan is plan
            assert self.train(pruner, loader) == self.order(pruner, loader)
            loader.set_epoch(pruner.epoch)
            assert pruner.plan is plan

    def test_after_an_early_break_a_new_pass_delivers_all_and_so_does_the_next_epoch(self) -> None:
        for pruner, loader in self._epochs():
            for index, batch in loader:
                pruner.observe(index, loss_at(self.positions(batch), pruner.epoch))
                break
            assert self.train(pruner, loader) == self.order(pruner, loader)

    def test_two_iterations_that_take_turns_are_refused(self) -> None:
        for pruner, loader in self._epochs():
            with pytest.raises(EpochError, match="iterat"):
                list(zip(loader, loader, strict=True))
            assert self.train(pruner, loader) == self.order(pruner, loader)

    def test_it_does_not_iterate_before_set_epoch_nor_after_the_pruner_moved_on(self) -> None:
        pruner = self.make_pruner()
        loader = self.make_loader(pruner)
        with pytest.raises(EpochError, match="set_epoch"):
            next(iter(loader))
        with pytest.raises(EpochError, match="set_epoch"):
            loader.peek()
        loader.set_epoch(0)
        self.train(pruner, loader)
        running = iter(loader)
        next(running)
        pruner.begin_epoch(1, multiple_of=self.batch_size)
        with pytest.raises(EpochError, match="set_epoch"):
            next(running)
        with pytest.raises(EpochError, match="set_epoch"):
            next(iter(loader))

    def test_it_resumes_exactly_after_every_batch(self) -> None:
        pruner = self.make_pruner()
        whole: list[int] = []
        saves: list[tuple[int, Any]] = []
        for _, loader in self._epochs(pruner):
            saves.append((len(whole), through_disk(loader.state_dict())))
            for index, batch in loader:
                pruner.reduce(index, loss_at(self.positions(batch), pruner.epoch))
                whole += index.tolist()
                saves.append((len(whole), through_disk(loader.state_dict())))
            saves.append((len(whole), through_disk(loader.state_dict())))
        for num_done, state in saves:
            resumed = self.make_pruner()
            loader = self.make_loader(resumed)
            loader.load_state_dict(state)
            assert_same_state(loader.state_dict(), state)
            delivered = []
            for _ in loader.epochs():
                delivered += self.train(resumed, loader)
            assert delivered == whole[num_done:]
            assert_same_state(resumed.state_dict(), pruner.state_dict())

    def test_every_epoch_begins_and_ends_once_wherever_a_run_is_resumed(self) -> None:
        pruner = self.make_pruner()
        begun, saves = [], []
        for epoch, loader in enumerate(loader for _, loader in self._epochs(pruner)):
            begun.append(epoch)
            for index, batch in loader:
                pruner.observe(index, loss_at(self.positions(batch), epoch))
                saves.append((epoch, through_disk(loader.state_dict())))  # its end is still to come
            saves.append((epoch + 1, through_disk(loader.state_dict())))
        assert begun == list(range(self.num_epochs))
        for first, state in saves:
            resumed = self.make_pruner()
            loader = self.make_loader(resumed)
            loader.load_state_dict(state)
            ended = []
            for epoch in loader.epochs():
                self.train(resumed, loader)
                ended.append(epoch)
            assert ended == begun[first:]

    def test_an_epoch_that_was_over_is_not_begun_again_after_a_load(self) -> None:
        pruner = self.make_pruner()
        loader = self.make_loader(pruner)
        loader.set_epoch(0)
        self.train(pruner, loader)
        resumed = self.make_pruner()
        again = self.make_loader(resumed)
        again.load_state_dict(through_disk(loader.state_dict()))
        with pytest.raises(EpochError, match="start_epoch"):
            again.set_epoch(0)
        again.set_epoch(1)
        assert self.train(resumed, again) == self.order(resumed, again)

    def test_after_a_load_every_pass_starts_there_until_one_has_ended(self) -> None:
        pruner = self.make_pruner()
        loader = self.make_loader(pruner)
        loader.set_epoch(0)
        index, _ = next(iter(loader))
        pruner.observe(index, loss_at(index, 0))
        resumed = self.make_pruner()
        again = self.make_loader(resumed)
        again.load_state_dict(loader.state_dict())
        again.set_epoch(0)
        next(iter(again))
        shard = self.order(resumed, again)
        assert again.peek()[0].tolist() == shard[self.batch_size : 2 * self.batch_size]
        assert self.train(resumed, again) == shard[len(index) :]
        assert [i for index, _ in again for i in index.tolist()] == shard

    def test_a_state_that_is_refused_changes_nothing(self) -> None:
        pruner, other = self.make_pruner(), self.make_pruner(seed=1)
        loader, another = self.make_loader(pruner), self.make_loader(other)
        loader.set_epoch(0)
        another.set_epoch(0)
        before = another.state_dict()
        mixed = {**before, "delivery": loader.state_dict()["delivery"]}
        for state in (loader.state_dict(), mixed, pruner.state_dict(), {}):
            with pytest.raises(StateError):
                another.load_state_dict(state)
            assert_same_state(another.state_dict(), before)
        assert self.train(other, another) == self.order(other, another)

    def test_the_global_generators_are_neither_read_nor_seeded(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            pruner = self.make_pruner()
            loader = self.make_loader(pruner)
            before = global_randomness()
            for _ in self._epochs(pruner, loader):
                self.train(pruner, loader)
            assert global_randomness() == before

    def _epochs(
        self, pruner: DataPruner | None = None, loader: Loader | None = None, *, accumulation: int = 1
    ) -> Iterator[tuple[DataPruner, Loader]]:
        """Set every remaining epoch of a run, the current one included."""
        pruner = pruner or self.make_pruner()
        loader = loader or self.make_loader(pruner, accumulation=accumulation)
        for epoch in range(max(0, pruner.epoch), self.num_epochs):
            loader.set_epoch(epoch)
            yield pruner, loader
