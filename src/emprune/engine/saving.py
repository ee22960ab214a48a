"""The part of a `DataPruner` that saves a run, and goes on from what was saved."""

from collections.abc import Mapping
from typing import Any

from emprune.engine.current import CurrentEpoch
from emprune.engine.readings import PrunerReadings, on_cpu
from emprune.engine.state import SavedRun, read_state, write_state
from emprune.indexing import mask_of

__all__ = ["PrunerSaving"]


class PrunerSaving(PrunerReadings):
    """A pruner's state, and the way back from it."""

    @on_cpu()
    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on exactly: plain values and CPU tensors, loadable with `weights_only=True`.

        Its keys, shapes and dtypes are the same at every moment of a run. Pending observations are folded first. If a
        sample is observed again in the same epoch, its values are overwritten as always. The exception are values that
        a method makes of older ones, such as a running mean.

        Raises:
            EmpruneError: On several ranks with observations that were not folded; call `sync()` on all ranks first.
            ObservationError: If device indices turn out to be out of the plan.
        """
        self._folding.fold_to_save(self._ranks, self._current)
        run = SavedRun(
            plan=None if self._current is None else self.plan,
            by_method=self._current is not None and self._current.by_method,
            observed=self._folding.observed,
            failed=self._folding.failed,
            left_out=self._folding.left_out,
            history=self._history,
            columns=self.stats.state_dict(),
            gap=self._folding.gap.state(),
        )
        return write_state(run, settings=self._settings, num_samples=self.num_samples)

    @on_cpu()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; the current epoch's plan is then the saved one.

        Raises:
            StateError: If it is no state of such a run, or does not hold together; nothing is loaded then.
        """
        self.restore(self.read_state(state))

    @on_cpu()
    def read_state(self, state: Mapping[str, Any]) -> SavedRun:
        """Return what a state holds, checked as `load_state_dict` does; for a loader, which checks more first."""
        return read_state(state, settings=self._settings, stats=self.stats, method=self.method)

    @on_cpu()
    def restore(self, saved: SavedRun) -> None:
        """Take over what `read_state` returned."""
        self.stats.load_state_dict(saved.columns)
        self._initial = None
        self._folding.restore(observed=saved.observed, failed=saved.failed, left_out=saved.left_out)
        self._folding.gap.restore(saved.gap)
        self._history = saved.history
        self._current = None
        self._pending.clear()
        if saved.plan is not None:
            planned = mask_of(saved.plan.index, saved.plan.num_samples)
            self._adopt(CurrentEpoch(saved.plan, planned=planned, by_method=saved.by_method))

    def _adopt(self, current: CurrentEpoch) -> None:
        """Make an epoch the current one."""
        self._current = current
        self._pending.expect(current.plan.index[self.rank :: self.world_size], current.planned)
