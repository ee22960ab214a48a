"""Standard output that cannot show every character: it gets the nearest that it can, and nothing fails."""

import codecs
import io
import unicodedata
from typing import TextIO

__all__ = ["show_any_character"]

NAME = "emprune.nearest"

NEAREST = {
    "–": "-", "—": "-", "−": "-", "·": "*", "•": "*", "×": "x", "±": "+/-", "≤": "<=", "≥": ">=",
    "→": "->", "Δ": "D", "δ": "d", "β": "beta", "ε": "epsilon",
}  # fmt: skip
"""What Unicode's own decomposition does not know; `…` and `½` it does."""

ESCAPED = range(0xDC80, 0xDD00)
"""How Python holds the bytes of a file's name that are no text."""


def show_any_character(*streams: TextIO | None) -> None:
    """Let streams print the nearest character to one that their encoding lacks.

    One that was told what to do instead, as by ``PYTHONIOENCODING=ascii:replace``, is left as it is.
    """
    codecs.register_error(NAME, _nearest)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=NAME)


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if ord(character) in ESCAPED:  # as `ls` prints it
        return bytes([ord(character) - 0xDC00]), error.start + 1
    plain = unicodedata.normalize("NFKD", character).replace("\N{FRACTION SLASH}", "/")
    shown = NEAREST.get(character) or plain.encode("ascii", "ignore").decode()
    return shown or character.encode("ascii", "backslashreplace").decode(), error.start + 1
