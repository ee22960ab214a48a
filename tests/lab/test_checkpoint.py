"""Checkpoints that are damaged, foreign, missing, or do not fit on the disk."""

import dataclasses
import errno
import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from emprune_lab.comparison.pool import Board, BoardReporter
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.results.checkpoints import UnusableError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.training.saved_state import load_state, save_state

from tests.lab.runs import (
    SilentReporter,
    assert_equal_runs,
    checkpoints_of,
    files_of,
    log,
    outcome,
    run_small,
    small_settings,
)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


UNLIKE = "is damaged: its files do not match their checksums"
UNREADABLE = "is damaged: its seal cannot be read"
DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "a state cut short": ("state.pt", cut, UNLIKE),
    "an empty state": ("state.pt", lambda data: b"", UNLIKE),
    "zeros": ("state.pt", lambda data: bytes(len(data)), UNLIKE),
    "a flipped bit": ("state.pt", flipped, UNLIKE),
    "no state": ("state.pt", lambda data: None, "has no state.pt"),
    "no seal": ("seal.json", lambda data: None, "has no seal.json"),
    "a seal cut short": ("seal.json", cut, UNREADABLE),
    "an empty seal": ("seal.json", lambda data: b"", UNREADABLE),
    "another seal": (
        "seal.json", replaced(b'"lasting": true', b'"lasting": false'),
        "is damaged: its seal does not match its own checksum",
    ),
    "another format": (
        "seal.json", replaced(b'"format": 4', b'"format": 3'),
        "has the format of another version of emprune, which can finish the run",
    ),
}  # fmt: skip


def put(folder: RunFolder, num_steps: int) -> None:
    """Write a small checkpoint."""
    folder.checkpoints.write(
        num_steps, lambda checkpoint: (checkpoint / "state.pt").write_text(f"step {num_steps}"), lasting=True
    )


def newest(folder: RunFolder) -> str | None:
    """Return what is in the newest usable one of them."""
    return folder.checkpoints.newest(lambda checkpoint: (checkpoint / "state.pt").read_text(), say=print)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped in the middle of its third epoch."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StoppedError):
        run_small(small_settings(), path, stop_after=7)
    return path


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    assert newest(folder) is None
    for num_steps in (3, 9, 10):
        put(folder, num_steps)
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-10", "checkpoint-9"]
    for num_steps in (10, 9):
        assert newest(folder) == f"step {num_steps}"
        shutil.rmtree(tmp_path / "checkpoints" / f"checkpoint-{num_steps}")
    assert newest(folder) is None


def test_at_every_instant_there_are_two_whole_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    put(folder, 1)
    put(folder, 2)
    met = []

    def watched(name: str) -> Callable[..., Any]:
        method = getattr(Path, name)

        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            assert num_whole(folder) >= 2
            value = method(path, *arguments, **options)
            assert num_whole(folder) >= 2
            met.append(f"{name} {path.name.partition('.')[0] or 'draft'}")
            return value

        return call

    for name in ("replace", "unlink", "rmdir"):
        monkeypatch.setattr(Path, name, watched(name))
    put(folder, 3)
    assert met == ["replace draft", "unlink state", "unlink seal", "rmdir checkpoint-1"]


def num_whole(folder: RunFolder) -> int:
    num_whole = 0
    for path in checkpoints_of(folder.path):
        with suppress(UnusableError):
            folder.checkpoints._check(path)
            num_whole += 1
    return num_whole


def test_a_checkpoint_cut_anywhere_or_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    folder.checkpoints.write(1, lambda checkpoint: save_state(checkpoint, {"x": torch.arange(9)}), lasting=True)
    for path in checkpoints_of(tmp_path)[0].iterdir():
        good = path.read_bytes()
        for place in range(0, len(good) - 1, 7):  # a seal may lack the end of its last line
            for bad in (good[:place], good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :]):
                path.write_bytes(bad)
                with pytest.raises(RunError, match="There is no checkpoint to go on from: .*checkpoint-1 "):
                    folder.checkpoints.newest(load_state, say=print)
        path.write_bytes(good)
        assert folder.checkpoints.newest(load_state, say=print) is not None


@pytest.mark.parametrize(("name", "damage", "problem"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_it_used(
    name: str,
    damage: Callable[[bytes], bytes | None],
    problem: str,
    finished_run: Path,
    stopped: Path,
    tmp_path: Path,
) -> None:
    parts = shutil.copytree(stopped, tmp_path / "parts")
    refused, before = checkpoints_of(parts)
    damaged = damage((refused / name).read_bytes())
    (refused / name).unlink()
    if damaged is not None:
        (refused / name).write_bytes(damaged)
    content = files_of(refused)
    report = SilentReporter()
    run_small(small_settings(), parts, report=report)
    kept, said = refused.with_name(f"{refused.name}-refused"), f" It is kept as {refused.name}-refused."
    if "seal.json" not in content:  # it may be somebody else's
        kept, said = refused, ""
    assert report.remarks == [f"{refused} {problem}. Going on from {before.name} instead.{said}"]
    assert report.visits_done == 96
    assert files_of(kept) == content
    assert outcome(parts) == outcome(finished_run)
    assert log(parts) == log(finished_run)


def test_a_worker_of_a_comparison_says_it_too() -> None:
    with pytest.warns(UserWarning, match="checkpoint.pt is damaged"):
        BoardReporter(Board(1), 0).remark("checkpoint.pt is damaged")


def test_the_checkpoint_of_another_run_is_refused_by_name(stopped: Path, tmp_path: Path) -> None:
    path = shutil.copytree(stopped, tmp_path / "one")
    with pytest.raises(StoppedError):
        run_small(small_settings(seed=1), tmp_path / "other", stop_after=8)
    theirs = checkpoints_of(tmp_path / "other")[0]
    shutil.copytree(theirs, path / "checkpoints" / theirs.name)
    report = SilentReporter()
    run_small(small_settings(), path, report=report)
    expected = "checkpoint-8 is of a run with other settings (there and here: seed: 1 and 0). Going on"
    assert expected in report.remarks[0]


def test_the_checkpoints_of_an_earlier_version_are_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        (tmp_path / name).write_text("a state")
    before = files_of(tmp_path)
    problem = "checkpoint.pt was written by an earlier version of emprune, which can finish the run"
    with pytest.raises(RunError, match=f"{problem}, and .*previous.*, or move them away to start again."):
        run_small(small_settings(), tmp_path)
    assert files_of(tmp_path) == before
    assert RunFolder.open(tmp_path, small_settings(), overwrite=True) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_finished_run_keeps_its_last_checkpoint_if_it_was_to(tmp_path: Path) -> None:
    for lasting, left in ((True, ["checkpoint-2"]), (False, [])):
        folder = RunFolder.open(tmp_path / str(lasting), small_settings())
        for num_steps in (1, 2):
            folder.checkpoints.write(num_steps, lambda checkpoint: None, lasting=lasting)
        (folder.path / "result.json").write_text("{}")  # and then it was killed
        RunFolder.open(folder.path, small_settings())
        assert [path.name for path in folder.path.glob("checkpoints/*")] == left
        assert (folder.path / "checkpoints").exists() == lasting


def test_a_run_killed_while_it_removed_a_checkpoint_removes_the_rest(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    put(folder, 2)
    rest = shutil.copytree(tmp_path / "checkpoints" / "checkpoint-2", tmp_path / "rest")
    put(folder, 3)
    put(folder, 4)
    (rest / "state.pt").unlink()
    rest.rename(tmp_path / "checkpoints" / "checkpoint-2")
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir()
    put(folder, 5)
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-5", "checkpoint-4"]


def reseal(path: Path, change: Callable[[Any], Any]) -> None:
    """Write the newest checkpoint anew with something changed, and sealed again."""
    checkpoint = checkpoints_of(path)[0]
    state = change(torch.load(checkpoint / "state.pt", weights_only=True))
    RunFolder(path).checkpoints.write(7, lambda draft: torch.save(state, draft / "state.pt"), lasting=True)


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def within(part: str, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {**state, part: {**state[part], **changes}}


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda state: [1, 2], "does not fit this run"),
    "what only this program reads": (lambda state: {"path": Path()}, "was written by other versions .UnpicklingError"),
    "no tally": (without("tally"), "does not fit this run .KeyError: 'tally'"),
    "another tally": (lambda state: {**state, "tally": {"epoch": 1}}, "does not fit this run .StateError.*tally must"),
    "a word for a number": (within("tally", steps="7"), "`steps` of a tally must be .*got '7'"),
    "an epoch that is not": (within("tally", epoch=99), "The tally is of no run of 4 epochs"),
    "no plan": (within("tally", summary={}), "The tally is of no run of 4 epochs"),
    "no model": (within("session", model={}), "does not fit this run .RuntimeError"),
    "a model of another kind": (within("session", model=[1]), "does not fit this run"),
    "no optimizer": (within("session", optimizer={}), "does not fit this run .KeyError"),
    "no pruner": (within("session", loader={"format": 0}), "does not fit this run"),
    "no place in the epoch": (within("session", loader=None), "does not fit this run"),
    "no random state": (within("session", random=None), "does not fit this run"),
}


@pytest.mark.parametrize(("change", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_a_sealed_state_that_does_not_fit_is_said_and_nothing_is_changed(
    change: Callable[[dict[str, Any]], Any], problem: str, stopped: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(stopped, tmp_path / "run")
    shutil.rmtree(checkpoints_of(path)[1])
    reseal(path, change)
    before = files_of(path)
    with pytest.raises(RunError, match=f"{checkpoints_of(path)[0]} .*{problem}"):
        run_small(small_settings(), path)
    assert files_of(path) == before


@pytest.mark.parametrize(
    ("settings", "problem"),
    [({}, "is of a run that cannot be made here. `task` must be a name; got task=None."),
     ({**small_settings().model_dump(), "cost": {"keep": "most", "epochs": 4}},
      "is of a run that cannot be made here. `keep` must be .*keep='most'"),
     (small_settings(keep=0.5).model_dump(), "is of a run with other settings .there and here: keep: 0.5 and 0.3.")],
    ids=["none", "no run's", "another run's"],
)  # fmt: skip
def test_a_sealed_state_of_another_run_is_said_and_nothing_is_changed(
    settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    other = dataclasses.replace(folder.checkpoints, settings=settings)
    other.write(1, lambda checkpoint: None, lasting=True)
    before = files_of(tmp_path)
    with pytest.raises(RunError, match=f"checkpoint-1 {problem}"):
        run_small(small_settings(), tmp_path)
    with pytest.raises(RunError, match="checkpoint-1 is not this run's, and has the name of its next checkpoint"):
        put(folder, 1)
    folder.checkpoints.clear()
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("part", ["tally", "session"])
def test_after_a_state_that_fits_in_part_the_one_before_is_loaded_whole(
    part: str, finished_run: Path, stopped: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(stopped, tmp_path / "run")
    reseal(path, within("session", random=None) if part == "session" else without("tally"))
    report = SilentReporter()
    run_small(small_settings(), path, report=report)
    assert "checkpoint-7 does not fit this run" in report.remarks[0]
    assert outcome(path) == outcome(finished_run)
    assert log(path) == log(finished_run)


def test_what_was_refused_before_is_kept_too(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path, small_settings())
    put(folder, 1)
    names = ["checkpoint-2-refused", "checkpoint-2-refused-2", "checkpoint-2-refused-3"]
    for name in names:
        put(folder, 2)
        (tmp_path / "checkpoints" / "checkpoint-2" / "state.pt").write_text(f"torn {name}")
        assert newest(folder) == "step 1"
    RunFolder.open(tmp_path, small_settings(), overwrite=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == names
    for name in names:
        assert (tmp_path / "checkpoints" / name / "state.pt").read_text() == f"torn {name}"


def test_a_run_killed_before_the_rename_goes_on_from_the_checkpoint_before(
    finished_run: Path, stopped: Path, tmp_path: Path
) -> None:
    parts = shutil.copytree(stopped, tmp_path / "parts")
    checkpoints_of(parts)[0].replace(parts / ".checkpoints.12345")
    report = SilentReporter()
    run_small(small_settings(), parts, report=report)
    assert report.remarks == []
    assert report.visits_done == 96
    assert not list(parts.glob(".*"))
    assert outcome(parts) == outcome(finished_run)
    assert log(parts) == log(finished_run)


def test_without_a_usable_checkpoint_both_are_named_and_what_to_do(stopped: Path, tmp_path: Path) -> None:
    path = shutil.copytree(stopped, tmp_path / "run")
    places = checkpoints_of(path)
    for place in places:
        (place / "state.pt").write_bytes(b"torn")
    before = files_of(path)
    problems = ", and ".join(f"{place} {UNLIKE}" for place in places)
    with pytest.raises(RunError) as caught:
        run_small(small_settings(), path)
    assert str(caught.value) == (
        f"There is no checkpoint to go on from: {problems}. Put a good copy in place, or move them away to start again."
    )
    assert files_of(path) == before
    for place in places:
        place.rename(tmp_path / place.name)
    run_small(small_settings(), path)


@pytest.mark.parametrize(
    ("name", "time"),
    [("state.pt", 3), ("seal.json", 3), ("visits.npy", 1), ("samples.parquet", 1), ("result.json", 1)],
)
def test_a_full_disk_leaves_the_last_checkpoint_whole_and_nothing_else(
    name: str, time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_small(small_settings(), tmp_path / "whole")
    parts = tmp_path / "parts"
    fill_disk(monkeypatch, at=name, time=time)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run_small(small_settings(), parts)
    place = parts / "checkpoints" / "checkpoint-9" if time == 3 else parts / name
    assert caught.value.filename == str(place)
    monkeypatch.undo()
    assert not list(parts.glob(".*"))
    assert not (parts / "result.json").exists()
    report = SilentReporter()
    resumed = run_small(small_settings(), parts, report=report)
    assert report.remarks == []
    assert report.visits_done == (96 if time == 3 else 192)
    assert_equal_runs(tmp_path / "whole", parts, (whole, resumed))


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, at: str, time: int) -> None:
    """Let the disk be full half-way through the `time`-th writing of a file of this name."""
    opened = Path.open
    times = 0

    def open_file(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        nonlocal times
        file = opened(path, mode, *rest, **more)
        if mode == "wb" and (path.name == at or path.name.startswith(f".{at}.")):
            times += 1
            if times == time:
                file.write(b"half")
                file.close()
                return FullFile(path)
        return file

    monkeypatch.setattr(Path, "open", open_file)


class FullFile(io.FileIO):
    """Takes nothing."""

    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")
