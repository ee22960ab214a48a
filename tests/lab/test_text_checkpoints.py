"""Checkpoints of runs on texts that are damaged, foreign, copied, or in the way of somebody's own files."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune_lab.errors import RunError, StoppedError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings

from tests.lab.runs import SilentReporter, checkpoints_of, files_of
from tests.lab.texts import assert_equal_text_runs, run_text, text_settings


def stopped(settings: Settings, path: Path, place: Path, *, after: Sequence[int]) -> list[Path]:
    """Run until so many batches are done, several times; return the checkpoints, the newest first."""
    for stop_after in after:
        with pytest.raises(StoppedError):
            run_text(settings, path, place, stop_after=stop_after)
    return checkpoints_of(path)


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damaged", ["model.safetensors", "optimizer.pt", "emprune.pt", "seal.json"])
def test_a_checkpoint_that_is_damaged_is_refused_by_name_and_kept(place: Path, tmp_path: Path, damaged: str) -> None:
    settings = text_settings(place)
    whole = run_text(settings, tmp_path / "whole", place)
    newest, before = stopped(settings, tmp_path / "parts", place, after=(7, 3))
    change(newest / damaged)
    copy = shutil.copytree(newest, newest.with_name(f"{newest.name} (copy)"))
    draft = tmp_path / "parts" / ".checkpoints.99999999"
    (draft / "checkpoint-12").mkdir(parents=True)  # what a process was writing when it was killed
    report = SilentReporter()
    parts = run_text(settings, tmp_path / "parts", place, report=report)
    (remark,) = report.remarks
    kept = newest.with_name(f"{newest.name}-refused")
    assert remark.startswith(f"{newest} is damaged: ")
    assert remark.endswith(f" Going on from {before.name} instead. It is kept as {kept.name}.")
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))
    assert set(copy.parent.iterdir()) == {copy, kept}
    assert not draft.exists()


def test_without_a_usable_checkpoint_both_are_named_and_kept(place: Path, tmp_path: Path) -> None:
    settings = text_settings(place)
    checkpoints = stopped(settings, tmp_path / "run", place, after=(7, 3))
    for checkpoint in checkpoints:
        change(checkpoint / "scheduler.pt")
    before = files_of(tmp_path / "run")
    with pytest.raises(RunError, match=f"{checkpoints[0]} is damaged.*, and {checkpoints[1]} is damaged"):
        run_text(settings, tmp_path / "run", place)
    assert files_of(tmp_path / "run") == before
    for checkpoint in checkpoints:
        checkpoint.rename(tmp_path / checkpoint.name)
    run_text(settings, tmp_path / "run", place)  # as the message says


def test_the_checkpoint_of_another_run_is_refused_by_the_settings_that_differ(place: Path, tmp_path: Path) -> None:
    configs = [text_settings(place), text_settings(place, max_lr=0.5, label_noise=0.3)]
    newest, _ = stopped(configs[0], tmp_path / "one", place, after=(7, 3))
    theirs = stopped(configs[1], tmp_path / "other", place, after=(5, 5))
    differing = r"other settings \(there and here: label_noise: 0.3 and 0.0; max_lr: 0.5 and 0.01\)"
    shutil.copytree(theirs[0], newest.with_name("checkpoint-11"))
    report = SilentReporter()
    with pytest.raises(StoppedError):
        run_text(configs[0], tmp_path / "one", place, stop_after=1, report=report)
    assert re.search(rf"checkpoint-11 is of a run with {differing}. Going on from {newest.name}", report.remarks[0])
    shutil.rmtree(newest.parent)
    shutil.copytree(theirs[0].parent, newest.parent)
    before = files_of(tmp_path / "one")
    with pytest.raises(RunError, match=differing):
        run_text(configs[0], tmp_path / "one", place)
    assert files_of(tmp_path / "one") == before


def test_a_run_that_finishes_removes_its_own_checkpoints_alone(place: Path, tmp_path: Path) -> None:
    settings, path = text_settings(place), tmp_path / "run"
    newest, before = stopped(settings, path, place, after=(7, 3))
    theirs = [newest.parent / "model.onnx", newest.parent / "checkpoint-1" / "model.safetensors", before / "notes.txt"]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    run_text(settings, path, place)
    assert [file.read_text() for file in theirs] == ["mine"] * 3
    assert sorted(newest.parent.rglob("*.*")) == sorted(theirs)
    RunFolder.open(path, settings, overwrite=True)
    assert sorted(newest.parent.rglob("*.*")) == sorted(theirs)


def test_a_sealed_checkpoint_that_does_not_fit_is_named_and_nothing_is_changed(place: Path, tmp_path: Path) -> None:
    settings = text_settings(place)
    newest, _ = stopped(settings, tmp_path / "run", place, after=(7, 3))
    state = json.loads((newest / "trainer_state.json").read_text())
    for name, value in (("epoch", -1), ("log_bytes", None), ("summary", [])):
        attributes = {**state["stateful_callbacks"]["TallyCallback"]["attributes"], name: value}
        callbacks = {**state["stateful_callbacks"], "TallyCallback": {"args": {}, "attributes": attributes}}
        (newest / "trainer_state.json").write_text(json.dumps({**state, "stateful_callbacks": callbacks}))
        (newest / "seal.json").unlink()
        checkpoints = RunFolder(tmp_path / "run").checkpoints
        checkpoints.add(newest.rename(tmp_path / "draft"), state["global_step"], lasting=False)
        before = files_of(tmp_path / "run")
        with pytest.raises(RunError, match=f"{newest} does not fit .*`{name}` .*got {re.escape(repr(value))}"):
            run_text(settings, tmp_path / "run", place)
        assert files_of(tmp_path / "run") == before


def test_a_full_disk_under_a_checkpoint_is_said(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=f"checkpoint could not be written in {tmp_path} .*file write failed"):
        run_text(text_settings(place), tmp_path, place, stop_after=5)
    assert not [path for path in tmp_path.iterdir() if "checkpoint" in path.name]
