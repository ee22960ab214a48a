"""A standard output of any encoding ends nothing."""

import io
import sys
from pathlib import Path

import pytest
from emprune_lab.commands.characters import show_any_character

from emprune.cli import main

SMALL = ["--epochs", "1", "--train-size", "80", "--batch-size", "16", "--precision", "fp32", "--device", "cpu"]
RUN = ["digits", *SMALL, "--out", "run"]
COMPARISON = ["digits", "--methods", "random", "--seeds", "1", *SMALL, "--out", "runs"]


def printed(text: str, encoding: str, errors: str = "strict") -> bytes:
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding, errors)
    show_any_character(stream, None)
    stream.write(text)
    stream.flush()
    return content.getvalue()


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [("93.0 ± 0.5 – …", "ascii", b"93.0 +/- 0.5 - ..."), ("93.0 ± 0.5 – é", "latin-1", b"93.0 \xb1 0.5 - \xe9"),
     ("½, é, −3, β", "ascii", b"1/2, e, -3, beta"), ("a/中", "cp1252", b"a/\\u4e2d"), ("中", "utf-8", "中".encode()),
     ("a\udcff.png", "utf-8", b"a\xff.png"), ("a\udcff.png", "ascii", b"a\xff.png"), ("\ud800", "utf-8", b"\\ud800")],
)  # fmt: skip
def test_the_nearest_character_is_printed(text: str, encoding: str, shown: bytes) -> None:
    assert printed(text, encoding) == printed(text, encoding, "surrogateescape") == shown


def test_what_a_stream_was_told_to_do_instead_stays() -> None:
    assert printed("5 – 6", "ascii", "replace") == b"5 ? 6"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_command_ends_where_a_character_cannot_be_shown(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [["methods"], ["tasks"], ["compare", "--help"], ["run", *RUN]]
    if encoding == "ascii":
        commands += [["estimate", "digits", *SMALL], ["compare", *COMPARISON], ["report", "runs"]]
    said = [shown_by_command(*command, encoding=encoding, monkeypatch=monkeypatch) for command in commands]
    assert "epsilon-greedy" in said[0]
    assert encoding == "latin-1" or (tmp_path / "runs" / "report.html").exists()


def shown_by_command(*arguments: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the command on a standard output of an encoding, and return what it prints."""
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["emprune", *arguments])
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            main()
    stream.flush()
    assert ended.value.code == 0, arguments
    return content.getvalue().decode(encoding)
