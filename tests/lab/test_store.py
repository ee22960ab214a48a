import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.errors import RunError, RunExistsError
from emprune_lab.files import write_whole
from emprune_lab.results import run_folder as store
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import FILES, RECORDS, RunFolder

from emprune.errors import ConfigError
from tests.lab.reports import old_result_of
from tests.lab.runs import files_of, small_settings


def test_a_fresh_folder_gets_its_settings(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "a" / "b", small_settings())
    assert folder.settings() == small_settings()
    assert not folder.finished


def test_an_unfinished_run_is_neither_resumed_nor_overwritten_unasked(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    folder.log.append({"epoch": 0})
    with pytest.raises(RunExistsError, match="unfinished run. Go on with --resume, start again with --overwrite"):
        RunFolder.open(tmp_path, small_settings())
    RunFolder.open(tmp_path, small_settings(), resume=True)
    assert (tmp_path / "log.jsonl").exists()
    RunFolder.open(tmp_path, small_settings(), overwrite=True)
    assert not (tmp_path / "log.jsonl").exists()


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    RunFolder.open(tmp_path, small_settings())
    with pytest.raises(
        RunExistsError, match="other settings .there and here.: seed: 0 and 3; max_lr: 0.2 and 0.1. .*--overwrite"
    ):
        RunFolder.open(tmp_path, small_settings(seed=3, max_lr=0.1), resume=True)


def test_a_finished_run_is_recognised_and_kept(finished_run: Path) -> None:
    before = (finished_run / "result.json").read_bytes()
    assert RunFolder.open(finished_run, small_settings()).finished
    with pytest.raises(RunExistsError):
        RunFolder.open(finished_run, small_settings(keep=0.5))
    assert (finished_run / "result.json").read_bytes() == before


def test_a_result_of_other_settings_is_refused_where_it_lies_alone(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes((finished_run / "result.json").read_bytes())
    with pytest.raises(RunExistsError, match="keep: 0.3 and 0.5"):
        RunFolder.open(tmp_path, small_settings(keep=0.5))
    assert RunFolder.open(tmp_path, small_settings()).finished


@pytest.mark.parametrize("name", [*FILES, "checkpoints/mine.bin"])
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_what_is_no_run_is_never_replaced(name: str, options: dict[str, bool], tmp_path: Path) -> None:
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(RunExistsError, match=f"holds {name.partition('/')[0]}, but no run of emprune.* another --out"):
        RunFolder.open(tmp_path, small_settings(), **options)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == '{"architectures": ["BertModel"]}'


def test_a_start_that_was_interrupted_can_be_made_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path).held():
        (tmp_path / ".config.json.1").write_text('{"ta')
    assert (tmp_path / store.LOCK).exists()
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder.open(tmp_path, small_settings())
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
        RunFolder.open(folder, small_settings(), overwrite=True)
    monkeypatch.undo()
    assert not RunFolder.open(folder, small_settings(), resume=True).finished
    RunFolder.open(folder, small_settings(), overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "log.jsonl").write_text("perhaps another program's")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RunError, match=r"config\.json cannot be read .*Delete its folder"):
            RunFolder.open(tmp_path, small_settings(), **options)
    assert (tmp_path / "log.jsonl").exists()


def test_another_programs_settings_are_none_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"task": "glue", "method": "lora"}')
    with pytest.raises(RunExistsError, match=r"holds config\.json, but no run of emprune"):
        RunFolder.open(tmp_path, small_settings(), overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"method": 5}, "`method` must be .*; got method=5"), ({"task": None}, "`task` must be .*; got task=None"),
     ({"colour": "red"}, "hold `colour`, which this version of emprune does not know")],
)  # fmt: skip
@pytest.mark.parametrize("version", ["0.1", "this"])
def test_settings_that_are_none_here_name_their_folder(
    version: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    stored = old_result_of(small_settings())["config"] if version == "0.1" else small_settings().model_dump()
    (tmp_path / "config.json").write_text(json.dumps({**stored, **change}))
    with pytest.raises(ConfigError, match=f"{tmp_path} holds a run that cannot be made here. .*{message}.* --out"):
        RunFolder.open(tmp_path, small_settings())


def test_settings_that_are_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(RunError, match=r"config\.json is not a run's. Delete its folder"):
        RunFolder.open(tmp_path, small_settings())


LINES = [f'{{"epoch": {epoch}, "loss": 1.5}}\n' for epoch in range(3)]


def logged(path: Path) -> tuple[RunFolder, tuple[int, str]]:
    """Return a folder with a log of three epochs, and where its checkpoint after the first is."""
    folder = RunFolder.open(path, small_settings())
    known, *_ = [folder.log.append({"epoch": epoch, "loss": 1.5}) for epoch in range(3)]
    assert (path / "log.jsonl").read_text() == "".join(LINES)
    return folder, known


@pytest.mark.parametrize("behind", ["", '{"epo', '{"epoch": 3, "lo', "\0\0\0"], ids=["whole", "torn", "cut", "zeros"])
def test_the_log_is_cut_to_what_the_checkpoint_knows(behind: str, tmp_path: Path) -> None:
    folder, known = logged(tmp_path)
    (tmp_path / "log.jsonl").write_text("".join(LINES) + behind)
    folder.log.cut(*known)
    assert (tmp_path / "log.jsonl").read_text() == LINES[0]
    folder.log.cut(0, "")
    assert (tmp_path / "log.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "is shorter than its checkpoint says"), (LINES[0][:-1], "is shorter"),
     (LINES[0].replace("1.5", "2.5") + LINES[1], "is not the log that its checkpoint goes with"),
     ("".join(LINES[1:]), "is not the log"), (LINES[0] + "mine\n", "has lines in it that are no epochs of the run"),
     (LINES[0] + LINES[1] + '{"step": 1}\n', "has lines in it")],
)  # fmt: skip
def test_a_log_that_is_not_the_runs_own_is_refused_and_left_as_it_is(
    content: str, problem: str, tmp_path: Path
) -> None:
    folder, known = logged(tmp_path)
    (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(RunError, match=f"{tmp_path / 'log.jsonl'} {problem}"):
        folder.log.cut(*known)
    assert (tmp_path / "log.jsonl").read_text() == content


def test_a_log_that_shares_its_content_with_another_file_is_cut_alone(tmp_path: Path) -> None:
    folder, known = logged(tmp_path / "run")
    (tmp_path / "copy.jsonl").hardlink_to(tmp_path / "run" / "log.jsonl")
    folder.log.cut(*known)
    folder.log.append({"epoch": 1, "loss": 0.5})
    assert (tmp_path / "copy.jsonl").read_text() == "".join(LINES)


@pytest.mark.parametrize("name", [*FILES, "checkpoints"])
@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_what_a_link_leads_to_is_not_touched(name: str, options: dict[str, bool], tmp_path: Path) -> None:
    logged(tmp_path / "run")
    theirs = tmp_path / "run" / name
    if theirs.exists():
        theirs.rename(tmp_path / "theirs")
    elif name == "checkpoints":
        (tmp_path / "theirs").mkdir()
    theirs.symlink_to(tmp_path / "theirs")  # without an end, where the run has no such file
    before = files_of(tmp_path)
    with pytest.raises(RunExistsError, match=f"a link in place of {name}: .* or choose another --out"):
        RunFolder.open(tmp_path / "run", small_settings(), **options)
    assert files_of(tmp_path) == before
    assert theirs.is_symlink()


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:
    logged(tmp_path / "disk")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    RunFolder.open(tmp_path / "run", small_settings(), resume=True).log.cut(0, "")
    assert (tmp_path / "disk" / "log.jsonl").read_text() == ""


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_somebodys_folder_of_checkpoints_stays(finished_run: Path, options: dict[str, bool], tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    theirs = [run / "checkpoints" / name for name in ("model.onnx", "checkpoint-7/trainer_state.json", "checkpoint-9")]
    for file in theirs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    RunFolder.open(run, small_settings(), **options)
    RunFolder(run).adopt(RunFolder(finished_run).result())
    assert [file.read_text() for file in theirs] == ["{}"] * 3


def test_what_an_editor_has_beside_a_file_of_the_run_stays(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    names = {".result.json.swp", ".log.jsonl.bak", "log.jsonl.1"}
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".log.jsonl.1234").write_text("a draft")
    RunFolder.open(folder.path, small_settings(), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == names | {"config.json"}


def test_one_process_at_a_time_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.01)
    folder = RunFolder(tmp_path / "a" / "b")
    with folder.held():
        RunFolder.open(folder.path, small_settings())
        with pytest.raises(RunError, match="b is in use: another process trains in it"), folder.held():
            pass
        with pytest.raises(RunError, match="b is in use"):
            folder.adopt(RunRecord(small_settings(), {"accuracy": 1.0}))
        assert not folder.finished
    with folder.held():
        assert not RunFolder.open(folder.path, small_settings(), overwrite=True).finished
    assert (folder.path / store.LOCK).exists()
    with folder.held():
        (folder.path / "result.json").write_text("{}")
    assert not (folder.path / store.LOCK).exists()


@pytest.mark.parametrize("code", ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def test_a_file_system_without_locks_is_named_with_the_way_out(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments: Any) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "file.txt"
    write_whole(path, lambda file: file.write(b"whole"))  # needs none
    assert path.read_bytes() == b"whole"
    with (
        pytest.raises(RunError, match=rf"{tmp_path}/\.lock cannot be locked .*Choose an --out on another disk"),
        RunFolder(tmp_path).held(),
    ):
        pass


def test_a_lock_file_of_another_program_stays(tmp_path: Path) -> None:
    (tmp_path / store.LOCK).write_text("mine")
    with RunFolder(tmp_path).held():
        (tmp_path / "result.json").write_text("{}")
    assert (tmp_path / store.LOCK).read_text() == "mine"


def test_an_adopted_run_brings_what_its_folder_recorded_and_nothing_else(finished_run: Path, tmp_path: Path) -> None:
    unfinished = RunFolder.open(tmp_path / "run", small_settings())
    unfinished.log.append({"epoch": 0})
    shutil.copytree(finished_run / "checkpoints", unfinished.path / "checkpoints")
    (unfinished.path / "model.safetensors").write_bytes(b"half trained")
    result = RunFolder(finished_run).result()
    unfinished.adopt(result, source=finished_run)
    assert unfinished.finished
    for name in RECORDS:
        assert (unfinished.path / name).read_bytes() == (finished_run / name).read_bytes()
    assert {path.name for path in unfinished.path.iterdir()} == {"config.json", "result.json", *RECORDS}
    unfinished.adopt(result)  # a results.json has no more than this
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
        folder.adopt(RunFolder(finished_run).result(), source=finished_run)
    assert not folder.finished
    monkeypatch.undo()
    folder.adopt(RunFolder(finished_run).result(), source=finished_run)
    assert (folder.path / "samples.parquet").read_bytes() == (finished_run / "samples.parquet").read_bytes()
