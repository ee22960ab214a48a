"""What is asked of a schedule and its batches: how large epochs are, whether it is possible, and what is if it is not.

A request that cannot be met is answered with one that can. Every answer is tried before it is given.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from emprune.errors import ConfigError

__all__ = ["Request"]

Changes = dict[str, Any]


class Problem(NamedTuple):
    """Why a request cannot be met: a sentence, and the parameter to blame with its value."""

    text: str
    parameter: str
    value: object


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run's cost, and the batches that it is delivered in.

    Args:
        num_samples: N.
        keep: Mean fraction per epoch.
        num_epochs: E; None to work it out from `num_steps`.
        num_steps: Optimizer steps of the run; None where `keep` fixes the visits.
        warmup_epochs: Full epochs at the start.
        tail_epochs: Full epochs at the end.
        multiple_of: The quantum, the samples of an optimizer step.
        step_name: The argument that the caller named the quantum by.
        accumulation: Batches per step where the caller spoke of batches; None where of the quantum.
        world_size: Ranks.
        drop_last: Whether full epochs are multiples of the quantum too.
    """

    num_samples: int
    keep: float
    num_epochs: int | None
    num_steps: int | None = None
    warmup_epochs: int = 0
    tail_epochs: int = 0
    multiple_of: int = 1
    step_name: str = "multiple_of"
    accumulation: int | None = None
    world_size: int = 1
    drop_last: bool = False

    @property
    def full(self) -> int:
        """Samples of a full epoch, the most that an epoch can deliver."""
        return self.num_samples // self._grain_at_least * self._grain_at_least

    @property
    def full_steps(self) -> int:
        """Optimizer steps of a full epoch."""
        return -(-self.full // self.multiple_of)

    @property
    def num_full(self) -> int:
        """Epochs of the warm-up and of the tail."""
        return self.warmup_epochs + self.tail_epochs

    @property
    def epochs(self) -> int:
        """E, worked out where it was not given: as many as the steps fill at this `keep`, each with a step at least."""
        if self.num_epochs is not None:
            return self.num_epochs
        assert self.num_steps is not None
        if self.keep == 1:
            return -(-self.num_steps // max(1, self.full_steps))
        left = max(0, self.num_steps - self.num_full * self.full_steps)
        wished = math.floor(self.num_steps * self.multiple_of / (self.keep * self.num_samples) + 0.5) - self.num_full
        return max(1, self.num_full + min(left, max(wished, -(-left // max(1, self.full_steps)))))

    @property
    def num_pruned(self) -> int:
        """Epochs that are neither warm-up nor tail."""
        return self.epochs - self.num_full

    @property
    def budget(self) -> int:
        """Visits of the run by `keep`."""
        return math.floor(self.keep * self.num_samples * self.epochs + 0.5)

    @property
    def mean_size(self) -> float:
        """`keep` · N, the samples of a mean epoch; without the rounding by which 0.29 · 100 is less than 29."""
        return round(self.keep * self.num_samples, 6)

    @property
    def pruned_budget(self) -> int:
        """Visits that the full epochs leave."""
        return self.budget - self.num_full * self.full

    @property
    def pruned_steps(self) -> int:
        """Steps that the full epochs leave, of a run with `num_steps`."""
        assert self.num_steps is not None
        return self.num_steps - self.num_full * self.full_steps

    @property
    def grain(self) -> int:
        """What pruned epochs are multiples of: the quantum, or the ranks where the epochs are smaller."""
        whole = self.drop_last or self.pruned_budget >= self.num_pruned * self.multiple_of
        return self.multiple_of if whole else self.world_size

    def check(self) -> None:
        """Raise ConfigError, with a request that can be met, if this one cannot."""
        problem = self.problem()
        if problem is not None:
            suggestion = self.suggestion()
            words = ", ".join(f"{name}={value!r}" for name, value in suggestion.items())
            text, parameter, value = problem
            raise ConfigError(f"{text} Use {words}.", parameter=parameter, value=value, suggestion=suggestion)

    def problem(self) -> Problem | None:
        """Return why the request cannot be met; None if it can."""
        if self.multiple_of % self.world_size:
            rule = f"`{self.step_name}` must be a multiple of the {self.world_size} rank(s); got {self.multiple_of}."
            return Problem(rule, self.step_name, self.multiple_of)
        if self.num_pruned < 0:
            rule = f"`warmup_epochs` and `tail_epochs` must fit into the run; got {self.warmup_epochs} and "
            return Problem(f"{rule}{self.tail_epochs} of {self.epochs} epochs.", "tail_epochs", self.tail_epochs)
        if self.full == 0:
            return self._problem_of_size()
        if self.num_steps is not None:
            return self._problem_of_steps()
        return None if self.keep == 1 else self._problem_of_visits()

    def _problem_of_size(self) -> Problem:
        name, grain = self._named_grain()
        rule, got = "must not be larger than", f"{grain}{'' if name == 'world_size' else ' with drop_last=True'}"
        if name == "batch_size" and grain < self.multiple_of:
            rule = "must leave an optimizer step within"
            got = f"{got}, {self.multiple_of} samples in {self.accumulation} batches on {self.world_size} rank(s)"
        return Problem(f"`{name}` {rule} the dataset of {self.num_samples} samples; got {got}.", name, grain)

    def _problem_of_visits(self) -> Problem | None:
        if self._is_too_much():
            rule = f"`keep` must leave out what makes batches or ranks unequal; got keep={self.keep}, and a full epoch "
            return Problem(f"{rule}delivers {self.full} of {self.num_samples} samples here.", "keep", self.keep)
        if self.num_pruned == 0 and self.pruned_budget < 0:
            rule = f"`keep` must be 1 when no epoch is pruned; got keep={self.keep} in a run of {self.epochs} epochs, "
            return Problem(
                f"{rule}{self.warmup_epochs} of them warm-up and {self.tail_epochs} tail.", "keep", self.keep
            )
        if self.pruned_budget < self.num_pruned * self.grain:
            size = "a sample" if self.grain == 1 else f"{self.grain} samples"
            each = "the pruned epoch" if self.num_pruned == 1 else f"each of {self.num_pruned} pruned epochs"
            full = f" beside {self.num_full} full one{'s' * (self.num_full > 1)}" if self.num_full else ""
            rule = f"`keep` must be large enough for {size} in {each}{full}; got keep={self.keep}, "
            return Problem(
                f"{rule}{self.budget} visits in {self.epochs} epochs of {self.num_samples} samples.", "keep", self.keep
            )
        return None

    def _is_too_much(self) -> bool:
        """Whether even full epochs, less what makes them unequal, fall short of the budget."""
        return self.num_steps is None and self.keep < 1 and self.budget - self.epochs * self.full > self.multiple_of

    def _problem_of_steps(self) -> Problem | None:
        if self.mean_size < self.multiple_of and self.keep < 1:
            rule = f"`keep` must give an epoch the {self.multiple_of} samples of an optimizer step; got "
            return Problem(f"{rule}keep={self.keep} of {self.num_samples} samples.", "keep", self.keep)
        assert self.num_steps is not None
        least, most = self._least_steps(), self.epochs * self.full_steps
        if not least <= self.num_steps <= most:
            rule = f"`num_steps` must be from {least} to {most} in {self.epochs} epochs, {self.num_full} of them full"
            if self.num_epochs is None:
                rule = f"`num_steps` must be at least {least}, those of {self.num_full} full epochs"
            return Problem(f"{rule}; got num_steps={self.num_steps}.", "num_steps", self.num_steps)
        return None

    def _least_steps(self) -> int:
        """Steps of the full epochs, and one in each of the others."""
        if self.keep == 1:
            return (self.epochs - 1) * self.full_steps + 1
        return self.num_full * self.full_steps + self.num_pruned

    def _named_grain(self) -> tuple[str, int]:
        """The number that epochs must be multiples of, and the argument that it comes from."""
        if self.world_size > self.num_samples or not self.drop_last:
            return "world_size", self.world_size
        if self.accumulation is None:
            return self.step_name, self.multiple_of
        return "batch_size", self.multiple_of // self.world_size // self.accumulation

    def suggestion(self) -> Changes:
        """Return the arguments to change, and to what, for a request that can be met: as few as possible."""
        tried = itertools.product(self._other_batches(), self._other_epochs(), (False, True))
        for batches, epochs, keep in sorted(tried, key=self._effort):
            request = replace(self, **batches, **epochs)
            if keep:
                request = replace(request, keep=request._nearest_keep())
            if request.problem() is None and request._without_batches().problem() is None:
                return self._named(request)
        raise AssertionError("One sample at a time, on one rank, with keep=1 is always possible.")

    def _other_batches(self) -> Iterator[Changes]:
        """Smaller batches, with and without short ones, then fewer ranks; the least change first."""
        yield {}
        if self.drop_last:
            yield {"drop_last": False}
        unit = self.world_size * (self.accumulation or 1)
        wished = [self.multiple_of, int(self.mean_size), self.num_samples]
        if self.num_pruned > 0:
            wished.append(self.pruned_budget // self.num_pruned)
        sizes = sorted({max(unit, size // unit * unit) for size in wished if size <= self.multiple_of}, reverse=True)
        for size in [*sizes, unit]:
            yield {"multiple_of": size}
            if self.drop_last:
                yield {"multiple_of": size, "drop_last": False}
        if (self.accumulation or 1) > 1:
            for size in (self.multiple_of // (self.accumulation or 1), self.world_size):
                yield {"accumulation": 1, "multiple_of": size}
                yield {"accumulation": 1, "multiple_of": size, "drop_last": False}
        largest = min(self.world_size, self.num_samples)
        for ranks in dict.fromkeys((largest, min(largest, max(1, int(self.mean_size))), 1)):
            per_rank = {"multiple_of": ranks * max(1, self.multiple_of // self.world_size)}
            yield {"world_size": ranks, **per_rank}
            yield {"world_size": ranks, "multiple_of": ranks, "accumulation": self.accumulation and 1}

    def _other_epochs(self) -> Iterator[Changes]:
        """A shorter tail, then a shorter warm-up too, as long as they can be; where steps are counted, other epochs."""
        yield {}
        for num_full in dict.fromkeys((self._most_full(), 0)):
            if num_full < self.num_full:
                warmup = min(self.warmup_epochs, num_full)
                changes = {"tail_epochs": num_full - warmup, "warmup_epochs": warmup}
                yield {name: value for name, value in changes.items() if value != getattr(self, name)}
        if self.num_steps is not None:
            if self.num_epochs is not None:
                yield {"num_epochs": replace(self, num_epochs=None).epochs}
                yield {"num_epochs": replace(self, num_epochs=None, tail_epochs=0, warmup_epochs=0).epochs,
                       "tail_epochs": 0, "warmup_epochs": 0}  # fmt: skip
            yield {"num_steps": max(self.num_steps, self._least_steps())}

    def _most_full(self) -> int:
        """Full epochs that fit beside pruned ones of a grain each."""
        if self.num_steps is not None:
            return max(0, (self.num_steps - 1) // max(1, self.full_steps))
        left = self.budget - self.epochs * self.grain
        return max(0, min(self.epochs, left // max(1, self.full - self.grain)))

    def _nearest_keep(self) -> float:
        """The `keep` nearest to what was asked for at which the epochs fit, with as few digits as will do."""
        if self.num_steps is not None:
            least, most = self.multiple_of / self.num_samples, 1.0
        else:
            visits = self.epochs * self.num_samples
            least = (self.num_full * self.full + self.num_pruned * self._grain_at_least) / visits
            most = self.full / self.num_samples
        for digits in range(3, 17):
            scale = float(10**digits)
            up = min(1.0, math.ceil(least * scale) / scale)
            keep = up if least > self.keep else math.floor(most * scale) / scale
            if keep > 0 and replace(self, keep=keep).problem() is None:
                return keep
        return 1.0

    @property
    def _grain_at_least(self) -> int:
        return self.multiple_of if self.drop_last else self.world_size

    def _effort(self, choice: tuple[Changes, Changes, bool]) -> tuple[int, bool, bool, int]:
        """How much a choice changes: few arguments rather than many, what is to blame first, and `drop_last` last."""
        batches, epochs, keep = choice
        return len(batches) + len(epochs) + keep, "drop_last" in batches, keep != self._is_too_much(), len(epochs)

    def _without_batches(self) -> "Request":
        """The same schedule, sample by sample; where steps are counted, it takes batches to say what they are."""
        if self.num_steps is not None:
            return self
        return replace(self, multiple_of=1, accumulation=None, world_size=1, drop_last=False)

    def _named(self, other: "Request") -> Changes:
        """The arguments, as the caller has them, in which another request differs."""
        names = ("world_size", "accumulation", "drop_last", "tail_epochs", "warmup_epochs", "num_epochs", "num_steps")
        changes: Changes = {name: getattr(other, name) for name in names if getattr(other, name) != getattr(self, name)}
        if self.accumulation is None:
            if other.multiple_of != self.multiple_of:
                changes[self.step_name] = other.multiple_of
        else:
            mine, theirs = (r.multiple_of // r.world_size // (r.accumulation or 1) for r in (self, other))
            if mine != theirs:
                changes["batch_size"] = theirs
        if other.keep != self.keep:
            changes["keep"] = other.keep
        return changes
