"""A loader's saved state: whether it is one."""

from collections.abc import Mapping
from typing import Any

from emprune.engine.state import FORMAT_VERSION
from emprune.errors import StateError

__all__ = ["check_state"]

_STATE = {"format_version", "pruner", "delivery"}
_STATE_OF_0_1 = {"epoch", "plan", "num_delivered", "ahead"}


def check_state(state: Mapping[str, Any]) -> None:
    """Raise StateError unless this is what a loader of this version saves."""
    found = f"the keys {sorted(map(str, state))}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
    if isinstance(state, Mapping) and set(state) >= _STATE_OF_0_1:
        raise StateError(
            f"A loader's state must be of emprune 0.2; got {found}, which emprune 0.1 wrote. Finish the run with that "
            "version, or start a new run."
        )
    if not isinstance(state, Mapping) or set(state) != _STATE:
        raise StateError(
            f"A loader's state must have the keys {sorted(_STATE)}; got {found}. Pass what loader.state_dict() "
            "returned."
        )
    if state["format_version"] != FORMAT_VERSION:
        raise StateError(
            f"The state's `format_version` must be {FORMAT_VERSION}; got {state['format_version']!r}. Resume with the "
            "emprune that wrote it."
        )
