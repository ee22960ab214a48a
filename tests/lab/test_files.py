"""Files that appear whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from emprune_lab.files import draft_folder, files_below, free_name, refuse_foreign, write_whole

from emprune.errors import ConfigError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def fail_half_way(file: object) -> None:
        getattr(file, "write")(b"ne")  # noqa: B009
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, fail_half_way)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


HOLD = """
import sys, filelock
file = open(sys.argv[1], "wb")
filelock.lock_descriptor(file.fileno())
print()
input()
"""


def test_a_draft_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "file.txt"
    dead, living = tmp_path / ".file.123", tmp_path / ".file.456"
    with subprocess.Popen([sys.executable, "-uc", HOLD, living], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for left in (dead, tmp_path / ".file.123.x", tmp_path / ".file.txt.123"):
            left.write_text("half")
        (tmp_path / ".file.789").mkdir()
        write_whole(path, lambda file: file.write(b"whole"))
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"file", living.name, ".file.123.x", ".file.txt.123"}
        process.kill()
    write_whole(other, lambda file: file.write(b"whole"))
    with draft_folder(path) as draft:
        (draft / "part").write_text("half")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "file.txt", ".file.123.x"}


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "file").symlink_to(tmp_path / "theirs")
    write_whole(tmp_path / "file", lambda file: file.write(b"ours"))
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (tmp_path / "file").read_text() == "ours"


def test_files_are_found_while_folders_beside_them_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [tmp_path / "a" / "result.json", tmp_path / "b" / "deep" / "result.json"]
    for file in [*there, tmp_path / "a" / "other.json", tmp_path / "a" / ".checkpoints.4711" / "state.pt"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    scan = os.scandir

    def scan_too_late(path: str) -> object:
        """Scan a folder, but a draft of a checkpoint is renamed between its parent's scan and its own."""
        if Path(path).name.startswith(".checkpoints"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_too_late)
    assert files_below(tmp_path, "result.json") == there
    assert files_below(tmp_path / "nowhere", "result.json") == []


def test_a_free_name_is_one_that_nothing_has(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    for name in ("file.pt", "file-2.pt"):
        assert free_name(path).name == name
        free_name(path).symlink_to("nowhere")
    assert free_name(path).name == "file-3.pt"


def test_a_file_that_is_none_of_ours_is_not_replaced(tmp_path: Path, comparison: Path, finished_run: Path) -> None:
    refuse_foreign(comparison / "results.json", tmp_path / "table.md", finished_run / "result.json")
    for name in ("report.html", "table.md", "gaps.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match=f"{name} would be replaced, and is none of emprune's. Write elsewhere"):
            refuse_foreign(tmp_path / "no.html", tmp_path / name)
