"""Checkpoints that are damaged, foreign, missing, or do not fit on the disk."""

import errno
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from emprune_lab.comparison.workers import Board, BoardReporter
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.training import checkpoint
from emprune_lab.training.checkpoint import SEAL_BYTES, load_checkpoint, save_checkpoint

from tests.lab.runs import SilentReporter, assert_equal_runs, files_of, log, outcome, run_small, small_config


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_in_the_seal(data: bytes) -> bytes:
    return data[:-3]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def of_the_version_before(data: bytes) -> bytes:
    return data.replace(b"\nemprune checkpoint 3 ", b"\nemprune checkpoint 2 ")


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (cut, "is cut short, or written by another version of emprune"),
    "cut short by little": (cut_in_the_seal, "is cut short, or written by another version of emprune"),
    "without its seal": (lambda data: data[:-SEAL_BYTES], "is cut short, or written by another version of emprune"),
    "empty": (lambda data: b"", "is not a checkpoint"),
    "zeros": (lambda data: bytes(len(data)), "is not a checkpoint"),
    "a flipped bit": (flipped, "is damaged: its content does not match its checksum"),
    "another format": (of_the_version_before, "has another format than this version of emprune reads"),
}


def saved(path: Path, *, times: int) -> Path:
    RunFolder.open(path, small_config())
    for time in range(times):
        save_checkpoint(path, {"config": small_config().to_json(), "time": time})
    return path


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped in the middle of its third epoch."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StoppedError):
        run_small(small_config(), path, stop_after=7)
    return path


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = saved(tmp_path, times=3)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "checkpoint.pt", "checkpoint-previous.pt"}
    times = []
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        state = load_checkpoint(folder, small_config())
        assert state is not None
        times.append(state["time"])
        assert torch.load(tmp_path / name, weights_only=True)["time"] == times[-1]  # the seal is not in the way
        (tmp_path / name).unlink()
    assert times == [2, 1]
    assert load_checkpoint(folder, small_config()) is None


def test_at_every_instant_there_is_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path, times=2)
    replace = Path.replace
    moves = []

    def watched(path: Path, target: Path) -> Path:
        assert load_checkpoint(folder, small_config()) is not None
        moves.append(target.name)
        moved = replace(path, target)
        assert load_checkpoint(folder, small_config()) is not None
        return moved

    monkeypatch.setattr(Path, "replace", watched)
    save_checkpoint(folder, {"config": small_config().to_json()})
    assert moves == ["checkpoint-previous.pt", "checkpoint.pt"]


def test_a_checkpoint_cut_anywhere_or_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, times=1)
    path = tmp_path / "checkpoint.pt"
    good = path.read_bytes()
    for place in {*range(0, len(good), 11), *range(len(good) - SEAL_BYTES - 1, len(good))}:
        for bad in (good[:place], good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :]):
            path.write_bytes(bad)
            with pytest.raises(RunError, match="There is no checkpoint to go on from: .*checkpoint.pt .*is missing"):
                load_checkpoint(folder, small_config())
    path.write_bytes(good)
    assert load_checkpoint(folder, small_config()) is not None


@pytest.mark.parametrize(("damage", "problem"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_it_used(
    damage: Callable[[bytes], bytes], problem: str, tmp_path: Path
) -> None:
    config = small_config()
    whole = run_small(config, tmp_path / "whole")
    parts = tmp_path / "parts"
    with pytest.raises(StoppedError):
        run_small(config, parts, stop_after=7)  # in the middle of the third epoch
    newest = parts / "checkpoint.pt"
    damaged = damage(newest.read_bytes())
    newest.write_bytes(damaged)
    report = SilentReporter()
    resumed = run_small(config, parts, report=report)
    assert report.remarks == [
        f"{newest} {problem}. Going on from checkpoint-previous.pt instead. It is kept as checkpoint-refused.pt."
    ]
    assert report.visits_done == 96
    assert (parts / "checkpoint-refused.pt").read_bytes() == damaged
    assert_equal_runs(tmp_path / "whole", parts, (whole, resumed))


def test_a_worker_of_a_comparison_says_it_too() -> None:
    with pytest.warns(UserWarning, match="checkpoint.pt is damaged"):
        BoardReporter(Board(1), 0).remark("checkpoint.pt is damaged")


def test_the_checkpoint_of_another_run_is_refused_by_name(tmp_path: Path) -> None:
    for seed, path in ((0, tmp_path / "one"), (1, tmp_path / "other")):
        with pytest.raises(StoppedError):
            run_small(small_config(seed=seed), path, stop_after=7)
    shutil.copy(tmp_path / "other" / "checkpoint.pt", tmp_path / "one" / "checkpoint.pt")
    report = SilentReporter()
    run_small(small_config(), tmp_path / "one", report=report)
    assert (
        "checkpoint.pt is of a run with other settings (there and here: seed: 1 and 0). Going on" in report.remarks[0]
    )


def reseal(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write a checkpoint anew with something changed, and sealed again."""
    state = change(torch.load(path / "checkpoint.pt", weights_only=True))
    content = io.BytesIO()
    torch.save(state, content)
    (path / "checkpoint.pt").write_bytes(content.getvalue() + checkpoint._seal(content.getbuffer()))


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def within(part: str, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {**state, part: {**state[part], **changes}}


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda state: [1, 2], "is not a run's"),
    "no settings": (without("config"), "does not say of which run it is"),
    "settings that are none": (within("config", keep="most"), "is of a run that cannot be made here .*keep='most'"),
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
    (path / "checkpoint-previous.pt").unlink()
    reseal(path, change)
    before = files_of(path)
    with pytest.raises(RunError, match=f"{path / 'checkpoint.pt'} .*{problem}"):
        run_small(small_config(), path)
    assert files_of(path) == before


@pytest.mark.parametrize("part", ["tally", "session"])
def test_after_a_state_that_fits_in_part_the_one_before_is_loaded_whole(
    part: str, finished_run: Path, stopped: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(stopped, tmp_path / "run")
    previous = (path / "checkpoint-previous.pt").read_bytes()
    change = within("session", random=None) if part == "session" else without("tally")
    reseal(path, change)
    (path / "checkpoint-previous.pt").write_bytes(previous)
    report = SilentReporter()
    run_small(small_config(), path, report=report)
    assert "checkpoint.pt does not fit this run" in report.remarks[0]
    assert outcome(path) == outcome(finished_run)
    assert log(path) == log(finished_run)


def test_what_was_refused_before_is_kept_too(tmp_path: Path) -> None:
    folder = saved(tmp_path, times=2)
    for time in range(3):
        (tmp_path / "checkpoint.pt").write_bytes(f"torn {time}".encode())
        load_checkpoint(folder, small_config())
    names = ("checkpoint-refused.pt", "checkpoint-refused-2.pt", "checkpoint-refused-3.pt")
    assert [(tmp_path / name).read_text() for name in names] == ["torn 0", "torn 1", "torn 2"]
    RunFolder.open(tmp_path, small_config(), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", *names}


def test_a_run_killed_between_the_two_renames_goes_on_from_the_checkpoint_before(tmp_path: Path) -> None:
    whole = run_small(small_config(), tmp_path / "whole")
    with pytest.raises(StoppedError):
        run_small(small_config(), tmp_path / "parts", stop_after=7)
    (tmp_path / "parts" / "checkpoint.pt").replace(tmp_path / "parts" / "checkpoint-previous.pt")
    (tmp_path / "parts" / ".checkpoint.pt.12345").write_bytes(b"what the killed process was writing")
    report = SilentReporter()
    parts = run_small(small_config(), tmp_path / "parts", report=report)
    assert report.remarks[0].endswith("checkpoint.pt is missing. Going on from checkpoint-previous.pt instead.")
    assert report.visits_done == 112
    assert not list((tmp_path / "parts").glob(".*"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def test_without_a_usable_checkpoint_both_are_named_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run_small(small_config(), tmp_path, stop_after=7)
    names = ("checkpoint.pt", "checkpoint-previous.pt")
    for name in names:
        (tmp_path / name).write_bytes(b"torn")
    before = (tmp_path / "log.jsonl").read_bytes()
    problems = ", and ".join(f"{tmp_path / name} is not a checkpoint" for name in names)
    with pytest.raises(RunError) as caught:
        run_small(small_config(), tmp_path)
    assert str(caught.value) == (
        f"There is no checkpoint to go on from: {problems}. Put a good copy in place, or move them away to start anew."
    )
    assert (tmp_path / "log.jsonl").read_bytes() == before
    for name in names:
        (tmp_path / name).unlink()
    run_small(small_config(), tmp_path)


@pytest.mark.parametrize(
    ("name", "time"),
    [("checkpoint.pt", 3), ("visits.npy", 1), ("samples.parquet", 1), ("result.json", 1)],
)
def test_a_full_disk_leaves_the_last_checkpoint_whole_and_nothing_else(
    name: str, time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_small(small_config(), tmp_path / "whole")
    parts = tmp_path / "parts"
    fill_disk(monkeypatch, at=parts / name, time=time)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run_small(small_config(), parts)
    assert caught.value.filename == str(parts / name)
    monkeypatch.undo()
    assert not list(parts.glob(".*"))
    assert not (parts / "result.json").exists()
    report = SilentReporter()
    resumed = run_small(small_config(), parts, report=report)
    assert report.remarks == []
    assert report.visits_done == (96 if name == "checkpoint.pt" else 192)
    assert_equal_runs(tmp_path / "whole", parts, (whole, resumed))


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, at: Path, time: int) -> None:
    """Let the disk be full half-way through the `time`-th writing of a file."""
    opened = Path.open
    times = 0

    def open_file(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        nonlocal times
        file = opened(path, mode, *rest, **more)
        if path.name.startswith(f".{at.name}.") and path.parent == at.parent:
            times += 1
            if times == time:
                file.write(b"half")
                file.close()
                return FullFile(at.with_name(path.name))
        return file

    monkeypatch.setattr(Path, "open", open_file)


class FullFile(io.FileIO):
    """Takes nothing."""

    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")
