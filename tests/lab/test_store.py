import os
from pathlib import Path

import pytest

from emprune.lab.errors import RunError, RunExistsError
from emprune.lab.store import RunFolder, write_whole
from tests.lab.runs import small_config


def test_a_fresh_folder_gets_its_settings(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "a" / "b", small_config())
    assert folder.config() == small_config()
    assert not folder.finished


def test_an_unfinished_run_is_neither_resumed_nor_overwritten_unasked(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_config())
    folder.append_log({"epoch": 0})
    with pytest.raises(RunExistsError, match="unfinished run. Go on with --resume, start anew with --overwrite"):
        RunFolder.open(tmp_path, small_config())
    RunFolder.open(tmp_path, small_config(), resume=True)
    assert (tmp_path / "log.jsonl").exists()
    RunFolder.open(tmp_path, small_config(), overwrite=True)
    assert not (tmp_path / "log.jsonl").exists()


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    RunFolder.open(tmp_path, small_config())
    with pytest.raises(RunExistsError, match="other settings .there and here.: max_lr: 0.2 and 0.1; seed: 0 and 3"):
        RunFolder.open(tmp_path, small_config(seed=3, max_lr=0.1), resume=True)


def test_a_finished_run_is_recognised_and_kept(finished_run: Path) -> None:
    before = (finished_run / "result.json").read_bytes()
    assert RunFolder.open(finished_run, small_config()).finished
    with pytest.raises(RunExistsError):
        RunFolder.open(finished_run, small_config(keep=0.5))
    assert (finished_run / "result.json").read_bytes() == before


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json cannot be read .*--overwrite"):
        RunFolder.open(tmp_path, small_config(), resume=True)
    RunFolder.open(tmp_path, small_config(), overwrite=True)


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_config())
    length = folder.append_log({"epoch": 0})
    folder.append_log({"epoch": 1})
    folder.cut_log(length)
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 0}\n'
    with pytest.raises(RunError, match="shorter than its checkpoint says"):
        folder.cut_log(length + 1)


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
