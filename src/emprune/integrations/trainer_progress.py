"""Where a training stands in the planned epochs: what a checkpoint says besides the pruner's state.

Hard, because three counts differ, and the Trainer skips batches on resume by itself::

    global_step   . . . . . | . . . . . . . | . . . .       optimizer steps: the truth, in every checkpoint
    epochs        0           1               2             of unequal length, and one may be stopped early
    batches       fetched one accumulation window ahead     so a count of what was handed out says too much

So the position is a count of optimizer steps since the epoch began. On resume the loader stands at the epoch's start,
and the Trainer skips the batches of those steps. Nothing else skips.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emprune.errors import StateError

__all__ = ["Progress", "read_checkpoint", "write_checkpoint"]

_STATE = {"pruner", "planned_for", "global_step", "first_step", "ended"}


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: The current epoch; -1 before the first.
        first_step: The optimizer steps before it.
        ended: Whether a callback has ended it early.
    """

    epoch: int = -1
    first_step: int = 0
    ended: bool = False

    def begun(self, epoch: int, global_step: int) -> "Progress":
        """Return the progress at an epoch's start; in an epoch that is resumed nothing changes."""
        return self if epoch == self.epoch else Progress(epoch, global_step)

    def stopped(self, early: bool) -> "Progress":
        """Return the progress once the epoch was left, by a callback or at its end."""
        return replace(self, ended=self.ended or early)

    def resumed(self, global_step: int, steps: list[int]) -> tuple[int, int]:
        """Return the epoch to go on with, and how many of its optimizer steps are done.

        Args:
            global_step: The optimizer steps so far.
            steps: Those of each planned epoch.
        """
        done = global_step - self.first_step
        if self.epoch >= 0 and (self.ended or done == steps[self.epoch]):
            return self.epoch + 1, 0
        return max(0, self.epoch), done


def write_checkpoint(
    file: Path, pruner: Mapping[str, Any], progress: Progress, *, global_step: int, planned_for: Mapping[str, Any]
) -> None:
    """Write a state as a whole, or not at all.

    Args:
        file: Where to.
        pruner: The pruner's state.
        progress: Where the training stands.
        global_step: The optimizer steps so far.
        planned_for: What the epochs' lengths depend on.
    """
    state = {
        "pruner": dict(pruner),
        "planned_for": dict(planned_for),
        "global_step": global_step,
        "first_step": progress.first_step,
        "ended": progress.ended,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    torch.save(state, partial)
    partial.replace(file)


def read_checkpoint(file: Path, *, global_step: int, planned_for: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `write_checkpoint` wrote.

    Args:
        file: What was written.
        global_step: What the Trainer's own state says.
        planned_for: What the epochs' lengths depend on here.

    Raises:
        StateError: If it is missing, damaged, or of another run.
    """
    if not file.is_file():
        raise StateError(
            f"The checkpoint must have {file.name}, which a PrunedTrainer writes; got none in {file.parent}. Start a "
            "new run."
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise StateError(f"{file} must be readable; got {error}. Resume from an earlier checkpoint.") from error
    if not isinstance(state, Mapping) or set(state) != _STATE:
        found = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        old = ", which emprune 0.1 wrote. Finish the run with that version, or start anew." if "began" in found else "."
        raise StateError(f"{file} must have the keys {sorted(_STATE)}; got {found}{old}")
    if state["global_step"] != global_step:
        raise StateError(
            f"The checkpoint's files must be of one step; got {file.name} of step {state['global_step']} and a "
            f"Trainer's state of step {global_step}. It was not written to its end: resume from an earlier one."
        )
    for name, mine in planned_for.items():
        if state["planned_for"].get(name) != mine:
            raise StateError(
                f"The run must go on with {name}={state['planned_for'].get(name)}, which its epochs are planned for; "
                f"got {mine}. Resume with the batch size, accumulation and ranks the run was started with."
            )
    return dict(state)
