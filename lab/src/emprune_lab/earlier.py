"""What version 0.1 wrote and what its users write, in this version's words."""

import math
from collections.abc import Mapping
from typing import Any

from emprune.errors import ConfigError
from emprune_lab.declaration import GROUP_OF
from emprune_lab.errors import OtherVersionError
from emprune_lab.method_spec import MethodSpec
from emprune_lab.settings import Settings

__all__ = ["refuse_fractions", "settings_of"]

EPOCHS_OF = {"warmup_fraction": "warmup_epochs", "tail_fraction": "tail_epochs"}
"""Version 0.1 had shares of the visits, which it rounded to whole epochs."""


METHOD_DEFAULTS = {"emp": {"pool": "none"}}
"""Options that had another default at some time in version 0.1. A stored method without them means it."""


def settings_of(stored: Mapping[str, Any]) -> Settings:
    """Return the settings of a stored run, whatever version wrote it.

    Args:
        stored: As this version wrote it, a table of groups; or as version 0.1 did, a flat one.

    Raises:
        ConfigError: If a setting is missing or impossible.
        OtherVersionError: If one is unknown.
    """
    if "cost" in stored:
        return Settings.read(stored)
    values = {EPOCHS_OF.get(name, name): value for name, value in stored.items()}
    for name, now in EPOCHS_OF.items():
        if name in stored:
            values[now] = _whole_epochs(stored[name], stored.get("keep"), stored.get("epochs"))
    task, method, seed = values.pop("task", None), values.pop("method", None), values.pop("seed", 0)
    for name, value in (("task", task), ("method", method)):
        if not isinstance(value, str):
            raise ConfigError(f"`{name}` must be a name; got {name}={value!r}.")
    for name in values.keys() - GROUP_OF.keys():
        raise OtherVersionError(f"The settings hold `{name}`, which this version of emprune does not know.")
    objective = "contrastive" if task.startswith("simclr-") else "classification"
    defaults = METHOD_DEFAULTS.get(method.partition(":")[0], {})
    return Settings.of(task, MethodSpec.stored(method, defaults, objective=objective), seed, values)


def refuse_fractions(settings: Mapping[str, Any], *, keep: Any, epochs: Any) -> None:
    """Raise ConfigError if a share of the visits is given, and say how many epochs it was.

    Args:
        settings: What was given.
        keep: The run's cost.
        epochs: Its length.
    """
    for name, now in EPOCHS_OF.items():
        if name in settings:
            whole = _whole_epochs(settings[name], keep, epochs)
            most = max(0, math.ceil(keep * epochs) - 1) if isinstance(whole, int) else 0
            raise ConfigError(
                f"`{name}` is gone, full epochs are counted; got {name}={settings[name]!r}. At keep={keep} and "
                f"epochs={epochs} write {now}={min(whole, most) if most else 0}."
            )


def _whole_epochs(fraction: Any, keep: Any, epochs: Any) -> Any:
    """How many epochs 0.1 made of a share of the visits; what is no number stays as it is, for others to refuse."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (fraction, keep, epochs)):
        return fraction
    visits = fraction * keep * epochs
    return math.floor(visits + 0.5) if math.isfinite(visits) else fraction
