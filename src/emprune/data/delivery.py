"""Delivery: where one rank stands in the epoch's plan. Nothing else moves it.

Hard, because a run may stop after any batch and must go on with the next one, on other ranks too::

    plan     4 1 3 0 7 2 9 8 5 6      frozen, the same on all ranks
    shard    4   3   7   9   5        every W-th sample: what this rank delivers
    cursor   #####                    handed out by the pass that counts
    start        ^                    where every new pass begins: after a load, or where the run goes on

A batch counts when it is handed out. The pass that handed out the last batch is the one that counts. A pass may begin
within another, which then goes on; it does not go on itself after that. One that ends within another, and trained
nothing, leaves the other to count. Once any other pass has ended the epoch is over: further passes deliver all of it
again, and count no more.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from emprune.data.cursor import Cursor
from emprune.data.shard import Shard
from emprune.errors import EpochError, StateError
from emprune.plan import EpochPlan

__all__ = ["Delivery", "saved_nothing"]

_STATE = {"plan", "num_delivered", "ahead", "world_size", "ended"}
Deal = Callable[..., Shard]
"""``(plan, num_before=0) -> shard``: this rank's part of what is left of a plan, in the order of delivery."""


class Delivery:
    """One rank's progress in one epoch.

    Args:
        plan: The epoch's plan.
        deal: Gives this rank's shard.
        num_before: Samples of the plan that all ranks delivered before a load.
        ahead: Dataset positions that this rank delivered beyond those.
        ended: Whether a pass had ended before a load.
    """

    def __init__(
        self, plan: EpochPlan, deal: Deal, *, num_before: int = 0, ahead: tuple[int, ...] = (), ended: bool = False
    ) -> None:
        self.plan, self.ended, self.was_over = plan, ended, ended
        self._deal = deal
        self._shard = deal(plan, num_before=num_before)
        self._rest = Cursor.resumed(self._shard, ahead).rest
        self._cursor = self._begun()
        self.was_trained = True  # whether anything was observed in the pass that ended it
        self._within: list[weakref.ref[Cursor]] = []  # the passes that have begun, each within the one before

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_within": []}  # no pass goes on in a copy

    @property
    def num_delivered(self) -> int:
        """Samples of the epoch's plan that this rank was handed."""
        return self._cursor.num_delivered

    @property
    def is_complete(self) -> bool:
        """Whether all of this rank's shard was handed out."""
        return self.ended or not self._cursor.num_remaining

    def new_pass(self) -> Cursor:
        """Return where a new pass begins: at the loaded position, or at the epoch's start."""
        return Cursor(self._deal(self.plan)) if self.ended else self._begun()

    def go_on(self) -> None:
        """Let new passes begin where the one that counts stands, as after a load; none that has begun goes on."""
        if not self.ended:
            self._rest, self._within = self._cursor.remaining, []
            self._cursor = self._begun()

    def count(self, cursor: Cursor, index: Tensor) -> None:
        """Count a batch that a pass hands out.

        Raises:
            EpochError: If passes take turns: each would hand out the whole epoch.
        """
        if not self.ended:
            self._take_over(cursor)
            self._cursor = cursor
        cursor.add(index)

    def _take_over(self, cursor: Cursor) -> None:
        one = weakref.ref(cursor)
        if one in self._within:
            del self._within[self._within.index(one) + 1 :]
        elif cursor.has_begun:
            raise EpochError(
                "Two iterations of an epoch must not take turns; got a batch of one that another has taken over from. "
                "The run would visit more than it may. Iterate once, and use a batch as often as you need."
            )
        else:
            self._within.append(one)

    def end(self, cursor: Cursor, *, trained: bool) -> None:
        """Close the epoch, since a pass has handed out all it could; or leave it to the pass around that one.

        Args:
            cursor: The pass's.
            trained: Whether anything was observed since it began.
        """
        if self.ended:
            return
        around = None if trained else self._leave(cursor)
        self._cursor, self.ended = (cursor, True) if around is None else (around, False)
        self.was_trained = trained

    def _leave(self, cursor: Cursor) -> Cursor | None:
        """Return the pass around one that has ended, if it can still go on: nobody holds one that was broken off."""
        around = [known for one in self._within if (known := one()) is not None and known is not cursor]
        self._within = [weakref.ref(known) for known in around]
        return around[-1] if around else None

    def state_dict(self) -> dict[str, Any]:
        """Return plain values; without "ahead" they are the same on all ranks that handed out as many batches."""
        num_delivered, ahead = self._cursor.saved()
        return {
            "plan": self.plan.fingerprint,
            "num_delivered": num_delivered,
            "ahead": ahead,
            "world_size": self._shard.world_size,
            "ended": self.ended,
        }

    @classmethod
    def loaded(
        cls, state: Mapping[str, Any], plan: EpochPlan | None, deal: Deal, *, world_size: int
    ) -> "Delivery | None":
        """Return a saved delivery of a plan; None before the first epoch.

        Raises:
            StateError: If it is no delivery of this plan, or what is left of it cannot be divided among these ranks.
        """
        if not isinstance(state, Mapping) or set(state) != _STATE:
            found = f"the keys {sorted(map(str, state))}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
            raise StateError(f"A saved delivery must have the keys {sorted(_STATE)}; got {found}.")
        if plan is None or state["plan"] != plan.fingerprint:
            if plan is None and state["plan"] is None:
                return None
            raise StateError(
                "The saved delivery must be of the saved plan; got another plan's. Pass what one call of "
                "loader.state_dict() returned."
            )
        num_before, ahead, ended = state["num_delivered"], state["ahead"], state["ended"]
        if not isinstance(num_before, int) or not 0 <= num_before <= len(plan) or not isinstance(ended, bool):
            raise StateError(
                f"The saved `num_delivered` must be in [0, {len(plan)}] and `ended` True or False; got {num_before!r} "
                f"and {ended!r}."
            )
        if not isinstance(state["world_size"], int) or state["world_size"] < 1:
            raise StateError(f"The saved `world_size` must be at least 1; got {state['world_size']!r}.")
        if not isinstance(ahead, (list, tuple)) or not all(isinstance(i, int) for i in ahead):
            raise StateError(f"The saved `ahead` must be a list of dataset positions; got {ahead!r}.")
        if ahead and state["world_size"] != world_size:
            raise StateError(
                f"The state was saved on {state['world_size']} rank(s) with batches delivered out of turn; got "
                f"{world_size} rank(s). Finish the epoch on as many as before, each with its own state."
            )
        strange = set(ahead) - set(deal(plan, num_before=num_before).index.tolist()) if ahead else set()
        if strange:
            raise StateError(
                f"The saved `ahead` must be samples of this rank's shard of the plan; got {min(strange)}. A state with "
                "batches out of turn is loaded by the rank that saved it."
            )
        return cls(plan, deal, num_before=num_before, ahead=tuple(ahead), ended=ended)

    def _begun(self) -> Cursor:
        return Cursor(self._shard, self._rest)


def saved_nothing(world_size: int) -> dict[str, Any]:
    """Return the state before the first epoch."""
    return {"plan": None, "num_delivered": 0, "ahead": [], "world_size": world_size, "ended": False}
