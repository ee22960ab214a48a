"""A run's settings, which are its identity: made of values, checked, stored, told apart, named."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError

from emprune.errors import ConfigError
from emprune_lab.declaration import (
    DIGESTS,
    FIELDS,
    GROUP_OF,
    GROUPS,
    CostSettings,
    DataSettings,
    Group,
    MachineSettings,
    TrainingSettings,
    extra_of,
)
from emprune_lab.errors import OtherVersionError, unknown_name
from emprune_lab.method_spec import MethodSpec

__all__ = ["Settings"]


class Settings(Group):
    """A run's settings, which are its identity. Equal ones on the same machine and software give equal results.

    Args:
        task: Name of the task.
        method: The method and all its options.
        seed: Decides the initial weights, the plans and the augmentation; runs of one seed are paired.
        cost: How much the run visits.
        data: What it trains on.
        training: How it trains.
        machine: Where it computes.
    """

    task: str
    method: MethodSpec
    seed: int = Field(ge=0, lt=2**63)
    cost: CostSettings
    data: DataSettings
    training: TrainingSettings
    machine: MachineSettings

    @classmethod
    def of(cls, task: str, method: MethodSpec, seed: int, values: Mapping[str, Any]) -> Self:
        """Return settings made of values by their names alone, as options and files have them.

        Raises:
            ConfigError: If a value is missing, unknown or impossible. The message has its name, its rule and the value.
        """
        grouped: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
        for name, value in values.items():
            if name not in GROUP_OF:
                raise unknown_name("setting", name, [*(GROUP_OF.keys() - DIGESTS), "recipe"])
            grouped[GROUP_OF[name]][name] = value
        return cls.read({"task": task, "method": method, "seed": seed, **grouped})

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return the settings that `model_dump` wrote.

        Raises:
            ConfigError: If a value is missing or impossible.
            OtherVersionError: If one is unknown.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise _in_words(error) from None

    def flat(self) -> dict[str, Any]:
        """Return every setting of the four groups by its name alone."""
        return {name: value for group in GROUPS for name, value in getattr(self, group).model_dump().items()}

    def replace(self, *, method: MethodSpec | None = None, seed: int | None = None, **changes: Any) -> Self:
        """Return the settings with some of them changed."""
        seed = self.seed if seed is None else seed
        return type(self).of(self.task, method or self.method, seed, {**self.flat(), **changes})

    def differences(self, other: "Settings") -> list[str]:
        """Return `name: this value and the other` for each setting in which two runs differ."""
        mine, theirs = ({**one.named(), **one.flat()} for one in (self, other))
        remark = {"task": " (the same files: spell their path as it is there)"} if self.same_files(other) else {}
        return [
            f"{name}: {mine[name]!r} and {theirs[name]!r}{remark.get(name, '')}"
            for name in mine
            if mine[name] != theirs[name]
        ]

    def same_files(self, other: "Settings") -> bool:
        """Whether both are on the same files of a user, in the same size, however their path is spelled."""
        (mine, theirs) = ((one.data.files, one.task.partition(":size=")[2]) for one in (self, other))
        return self.data.files is not None and mine == theirs

    def named(self) -> dict[str, Any]:
        """Return task, method and seed, as people write them."""
        return {"task": self.task, "method": str(self.method), "seed": self.seed}

    @property
    def folder_name(self) -> str:
        """The method as a folder name, with a short hash of all settings but the seed.

        Settings at their defaults do not count, so that a new setting leaves old names as they are.
        """
        counted = self.model_dump(exclude={"seed"}, exclude_defaults=True)
        digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', str(self.method))}-{digest[:8]}"


def _in_words(error: ValidationError) -> ConfigError:
    """Return the first problem that pydantic found, as our messages have it."""
    problem = error.errors(include_url=False, include_context=False)[0]
    name = str(problem["loc"][-1])
    got = f"got {name}={problem['input']!r}."
    if problem["type"] == "missing":
        return ConfigError(f"The settings lack `{name}`. They are of another version of emprune.")
    if problem["type"] == "extra_forbidden":
        return OtherVersionError(f"The settings hold `{name}`, which this version of emprune does not know.")
    if name == "seed":
        return ConfigError(f"`seed` must be an integer in [0, 2^63); {got}")
    if name not in FIELDS:
        return ConfigError(f"`{name}` must be of another type; {got}")
    rule, advice = extra_of(name)["rule"], extra_of(name)["advice"]
    return ConfigError(f"`{name}` must be {rule}; {got}{f' {advice}' if advice else ''}")
