"""Where the command writes: results to the standard output, how things go to the standard error."""

import sys

from rich.console import Console

__all__ = ["out", "progress"]

PIPE_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
progress = Console(stderr=True)
