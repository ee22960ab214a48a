import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from emprune.errors import ConfigError
from emprune.lab import store
from emprune.lab.errors import RunError, RunExistsError
from emprune.lab.files import write_whole
from emprune.lab.store import FILES, RECORDS, RunFolder
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
    with pytest.raises(
        RunExistsError, match="other settings .there and here.: max_lr: 0.2 and 0.1; seed: 0 and 3. .*--overwrite"
    ):
        RunFolder.open(tmp_path, small_config(seed=3, max_lr=0.1), resume=True)


def test_a_finished_run_is_recognised_and_kept(finished_run: Path) -> None:
    before = (finished_run / "result.json").read_bytes()
    assert RunFolder.open(finished_run, small_config()).finished
    with pytest.raises(RunExistsError):
        RunFolder.open(finished_run, small_config(keep=0.5))
    assert (finished_run / "result.json").read_bytes() == before


def test_a_result_of_other_settings_is_refused_where_it_lies_alone(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes((finished_run / "result.json").read_bytes())
    with pytest.raises(RunExistsError, match="keep: 0.3 and 0.5"):
        RunFolder.open(tmp_path, small_config(keep=0.5))
    assert RunFolder.open(tmp_path, small_config()).finished


@pytest.mark.parametrize("name", [*FILES, "checkpoints/mine.bin"])
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_what_is_no_run_is_never_replaced(name: str, options: dict[str, bool], tmp_path: Path) -> None:
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(RunExistsError, match=f"holds {name.partition('/')[0]}, but no run of emprune.* another --out"):
        RunFolder.open(tmp_path, small_config(), **options)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == '{"architectures": ["BertModel"]}'


def test_a_start_that_was_interrupted_can_be_made_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path).held():
        (tmp_path / ".config.json.1").write_text('{"ta')
    assert (tmp_path / store.LOCK).exists()
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder.open(tmp_path, small_config())
    assert (tmp_path / "notes.txt").exists()


def test_an_overwriting_that_was_interrupted_leaves_an_unfinished_run(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if path.name == "samples.parquet":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RunFolder.open(folder, small_config(), overwrite=True)
    monkeypatch.undo()
    assert not RunFolder.open(folder, small_config(), resume=True).finished
    RunFolder.open(folder, small_config(), overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json cannot be read .*Delete its folder"):
        RunFolder.open(tmp_path, small_config(), resume=True)
    RunFolder.open(tmp_path, small_config(), overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"method": 5}, "`method` must be a name: got method=5"), ({"task": None}, "`task` must be a name: got task=None"),
     ({"colour": "red"}, "of another version of emprune: colour differ")],
)  # fmt: skip
def test_settings_that_are_none_here_name_their_folder(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**small_config().to_json(), **change}))
    with pytest.raises(ConfigError, match=f"{tmp_path} holds a run that cannot be made here. .*{message}.* --out"):
        RunFolder.open(tmp_path, small_config())


def test_settings_that_are_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(RunError, match=r"config\.json is not a run's. Delete its folder"):
        RunFolder.open(tmp_path, small_config())


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_config())
    length = folder.append_log({"epoch": 0})
    folder.append_log({"epoch": 1})
    folder.cut_log(length)
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 0}\n'
    with pytest.raises(RunError, match="shorter than its checkpoint says. Delete its folder, and the run is made anew"):
        folder.cut_log(length + 1)


def test_one_process_at_a_time_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.01)
    folder = RunFolder(tmp_path / "a" / "b")
    with folder.held():
        RunFolder.open(folder.path, small_config())
        with pytest.raises(RunError, match="b is in use: another process trains in it"), folder.held():
            pass
        with pytest.raises(RunError, match="b is in use"):
            folder.adopt(small_config(), {"accuracy": 1.0})
        assert not folder.finished
    with folder.held():
        assert not RunFolder.open(folder.path, small_config(), overwrite=True).finished
    assert (folder.path / store.LOCK).exists()
    with folder.held():
        (folder.path / "result.json").write_text("{}")
    assert not (folder.path / store.LOCK).exists()


def test_an_adopted_run_brings_what_its_folder_recorded_and_nothing_else(finished_run: Path, tmp_path: Path) -> None:
    unfinished = RunFolder.open(tmp_path / "run", small_config())
    unfinished.append_log({"epoch": 0})
    result = RunFolder(finished_run).result()
    unfinished.adopt(small_config(), result, source=finished_run)
    assert unfinished.finished
    for name in RECORDS:
        assert (unfinished.path / name).read_bytes() == (finished_run / name).read_bytes()
    assert {path.name for path in unfinished.path.iterdir()} == {"config.json", "result.json", *RECORDS}
    unfinished.adopt(small_config(), result)  # a results.json has no more than this
    assert {path.name for path in unfinished.path.iterdir()} == {"config.json", "result.json"}


def test_an_adoption_that_fails_leaves_the_run_unfinished(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, write: Any) -> None:
        if path.name == "samples.parquet":
            raise OSError(28, "No space left on device", str(path))
        write_whole(path, write)

    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr(store, "write_whole", full_disk)
    with pytest.raises(OSError, match="samples"):
        folder.adopt(small_config(), RunFolder(finished_run).result(), source=finished_run)
    assert not folder.finished
    monkeypatch.undo()
    folder.adopt(small_config(), RunFolder(finished_run).result(), source=finished_run)
    assert (folder.path / "samples.parquet").read_bytes() == (finished_run / "samples.parquet").read_bytes()
