"""Names that people write: what is said of one that does not exist."""

import difflib
from collections.abc import Iterable

from emprune.errors import ConfigError

__all__ = ["unknown_name"]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist, with the nearest one that does.

    Example:
        >>> print(unknown_name("task", "digit", ["digits", "fashion-mnist"]))
        Unknown task; got 'digit'. Did you mean 'digits'? There are: digits, fashion-mnist.
    """
    names = sorted(known)
    alike = {_plain(known): known for known in names}
    near = difflib.get_close_matches(_plain(name), alike, n=1)
    hint = f" Did you mean {alike[near[0]]!r}?" if near else ""
    return ConfigError(f"Unknown {kind}; got {name!r}.{hint} There are: {', '.join(names) or 'none'}.")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
