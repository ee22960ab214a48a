"""What version 0.1 wrote, in this version's words: the settings of its results, run folders and checkpoints."""

import math
from collections.abc import Mapping
from typing import Any

from emprune.errors import ConfigError
from emprune_lab.method_spec import stored_method

__all__ = ["refuse_fractions", "settings_now"]

EPOCHS_OF = {"warmup_fraction": "warmup_epochs", "tail_fraction": "tail_epochs"}
"""Version 0.1 had shares of the visits, which it rounded to whole epochs."""


def settings_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's stored settings as this version has them.

    Example:
        >>> settings_now({"method": "emp", "keep": 0.1, "epochs": 60, "tail_fraction": 0.25})
        {'method': 'emp:pool=none', 'keep': 0.1, 'epochs': 60, 'tail_epochs': 2}
    """
    settings = {EPOCHS_OF.get(name, name): value for name, value in values.items()}
    for name, now in EPOCHS_OF.items():
        if name in values:
            settings[now] = _whole_epochs(values[name], values.get("keep"), values.get("epochs"))
    if isinstance(settings.get("method"), str):
        settings["method"] = stored_method(settings["method"])
    return settings


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
