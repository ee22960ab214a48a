"""Where the command writes: results to the standard output, how things go to the standard error."""

import sys

from rich.console import Console

from emprune.distributed import launched_rank

__all__ = ["out", "progress"]

PIPE_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""

follows = bool(launched_rank())
"""Whether this is one of several ranks and not the first, which speaks for all."""

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, quiet=follows)
progress = Console(stderr=True, quiet=follows)
