"""Where the command writes: results to the standard output, how things go to the standard error."""

import os
import sys
from typing import Any

from rich.console import Console

from emprune.distributed import launched_rank

__all__ = ["literal_console", "out", "progress", "prose_width"]

PIPE_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""

PIPE_PROSE_WIDTH = 80
"""Columns of sentences there: a file or a log is read in any window."""

follows = bool(launched_rank())
"""Whether this is one of several ranks and not the first, which speaks for all."""


def literal_console(**options: Any) -> Console:
    """Return a console that prints text as it is, titles and cells of tables too, whatever brackets and colons it has.

    Names of folders and messages of errors are no markup; what is to look different is a `rich.text.Text`, or a style.

    Args:
        options: Of rich's Console.
    """
    return Console(markup=False, emoji=False, **options)


_has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
out = literal_console(width=None if _has_width else PIPE_WIDTH, quiet=follows)
progress = literal_console(stderr=True, quiet=follows)


def prose_width() -> int | None:
    """Return the columns of sentences on `out`: None, all that there are, on a terminal or where COLUMNS says so."""
    return None if _has_width else PIPE_PROSE_WIDTH
