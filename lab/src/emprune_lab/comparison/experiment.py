"""What a comparison runs: methods, seeds and settings, some of them varied, from a command line or a file."""

import itertools
import math
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from emprune.errors import ConfigError
from emprune.methods import Full, Random
from emprune_lab.declaration import DIGESTS
from emprune_lab.errors import unknown_name
from emprune_lab.files import read_text
from emprune_lab.method_spec import DEFAULT_BASELINE, DEFAULT_SEEDS, MethodSpec, expanded_methods
from emprune_lab.run import make_settings
from emprune_lab.settings import Settings
from emprune_lab.tasks import Task, get_task

__all__ = ["MOST_SEEDS", "Experiment", "Variant", "parse_seeds"]

MOST_SEEDS = 10_000
"""Of a comparison, whose runs are listed before the first is made."""
MOST_DIGITS = 19

ABOVE = "name the task, the methods and the seeds above it"
ELSEWHERE = {
    **dict.fromkeys(("task", "method", "seed"), ABOVE),
    **dict.fromkeys(DIGESTS, "the digest is taken of what is there"),
}
"""What is no setting of an experiment, and where it comes from."""

KEYS = {"title", "task", "methods", "seeds", "baseline", "margin", "settings"}


@dataclass(frozen=True)
class Variant:
    """One combination of the varied settings, and the runs of it that are compared with each other."""

    varied: Mapping[str, Any]
    runs: tuple[Settings, ...]

    @property
    def title(self) -> str:
        """The combination in words; empty where nothing is varied."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.varied.items())


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Methods and seeds on a task at equal cost, once for each combination of the settings that are varied.

    Args:
        task: Name of the task.
        methods: Methods with their options, such as `emp:pool=2`; each at most once. `all` stands for those without
            options that must be given.
        seeds: Seeds, each at most once; runs of one seed are paired.
        baseline: The method that differences are taken to.
        margin: Of the metric, what a method may be worse than the baseline and still count as non-inferior; None to
            leave that out.
        settings: Any of a run's, and `recipe`; one that is a list is varied.
        title: A line for the reader.

    Raises:
        ConfigError: If a value is impossible.
    """

    task: str
    methods: Sequence[str]
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    baseline: str = DEFAULT_BASELINE
    margin: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    def __post_init__(self) -> None:
        self._check_kinds()
        object.__setattr__(self, "methods", expanded_methods(self.methods))
        methods = list(map(str, self.specs))
        if len(set(methods)) < len(methods):
            raise ConfigError(f"A method is listed twice; got {', '.join(methods)}.")
        if not self.seeds or not methods:
            raise ConfigError(
                f"A comparison needs a seed and a method; got {len(self.seeds)} seeds and {len(methods)} methods."
            )
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise ConfigError(
                f"`margin` must be positive and finite, a difference of the metric; got margin={self.margin}."
            )
        object.__setattr__(self, "baseline", str(self._parsed(self.baseline)))
        if self.baseline not in (*methods, DEFAULT_BASELINE):
            raise ConfigError(f"`baseline` must be one of the methods; got {self.baseline!r}. Add it to them.")
        self.variants  # noqa: B018 - which checks every run

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the experiment that a TOML file describes.

        Raises:
            ConfigError: If the file cannot be read, or describes something impossible.
        """
        try:
            content = tomllib.loads(read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path} is not a readable TOML file: {error}.") from error
        for key in content:
            if key not in KEYS:
                raise unknown_name(f"entry of {path}", key, KEYS)
        missing = sorted({"task", "methods"} - content.keys())
        if missing:
            raise ConfigError(f"{path} must name {' and '.join(missing)}.")
        seeds = parse_seeds(str(content.pop("seeds", DEFAULT_SEEDS)))
        return cls(**content, seeds=seeds)

    def _check_kinds(self) -> None:
        """Refuse what a file may hold in place of what is meant."""
        if not isinstance(self.methods, (list, tuple)) or not all(isinstance(method, str) for method in self.methods):
            raise ConfigError(f"`methods` must be a list of names; got methods={self.methods!r}.")
        for name in ("task", "baseline", "title"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"`{name}` must be text; got {name}={getattr(self, name)!r}.")
        if self.margin is not None and (not isinstance(self.margin, (int, float)) or isinstance(self.margin, bool)):
            raise ConfigError(f"`margin` must be a number, a difference of the metric; got margin={self.margin!r}.")
        if not isinstance(self.settings, Mapping):
            raise ConfigError(f"`settings` must be a table of settings; got settings={self.settings!r}.")
        for name, value in self.settings.items():
            if name in ELSEWHERE:
                raise ConfigError(f"`settings` must not hold {name!r}: {ELSEWHERE[name]}.")
            if value == []:
                raise ConfigError(f"`{name}` must have a value, or several to be varied; got an empty list.")
            if isinstance(value, list) and any(value.count(one) > 1 for one in value):
                raise ConfigError(
                    f"`{name}` must have each of its values once; got {name}={value!r}. Leave out the rest."
                )

    @cached_property
    def trained_on(self) -> Task:
        """The task that is named."""
        return get_task(self.task)

    @cached_property
    def specs(self) -> list[MethodSpec]:
        """The methods, with all their options."""
        return [self._parsed(method) for method in self.methods]

    @property
    def varied(self) -> list[str]:
        """The settings that have several values."""
        return [name for name, value in self.settings.items() if isinstance(value, list)]

    @cached_property
    def variants(self) -> list[Variant]:
        """Return the combinations of the varied settings, in order, each with its runs."""
        varied = {name: self.settings[name] for name in self.varied}
        fixed = {name: value for name, value in self.settings.items() if name not in varied}
        combinations = [dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]
        return [Variant(chosen, tuple(self._runs({**fixed, **chosen}))) for chosen in combinations]

    def _parsed(self, text: str) -> MethodSpec:
        return MethodSpec.parse(text, objective=self.trained_on.objective)

    def _runs(self, settings: Mapping[str, Any]) -> list[Settings]:
        """The settings of every run, seed by seed, so that an early look compares like with like.

        All methods get the same cost, warm-up and tail. `full` keeps everything, has neither, and starts from nothing.
        """
        pruned = MethodSpec(name=Random.name)
        make_settings(self.trained_on, pruned, **settings)  # what `full` leaves out of a cost is checked all the same
        full = {**settings, "keep": None, "tail_epochs": None, "warmup_epochs": None, "initial": None}
        first = [
            make_settings(self.trained_on, spec, **(full if spec.name == Full.name else settings))
            for spec in self.specs
        ]
        return [settings.replace(seed=seed) for seed in self.seeds for settings in first]


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that `5` (0 to 4) or `5-9` spells.

    Example:
        >>> parse_seeds("3"), parse_seeds("5-7")
        ([0, 1, 2], [5, 6, 7])

    Raises:
        ConfigError: If it spells none.
    """
    first, dash, last = text.strip().partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise ConfigError(f"`seeds` must be a number of seeds, or a range such as 5-9; got {text!r}.")
    if len(first) > MOST_DIGITS or len(last) > MOST_DIGITS:
        raise ConfigError(f"`seeds` must be below 2^63; got {reprlib.repr(text)}.")
    seeds = range(int(first), int(last) + 1) if dash else range(int(first))
    if not seeds:
        raise ConfigError(f"`seeds` must name at least one seed; got {text!r}.")
    if seeds.stop - seeds.start > MOST_SEEDS:
        raise ConfigError(f"`seeds` must name at most {MOST_SEEDS:,} seeds; got {text!r}.")
    return list(seeds)
