"""What `emprune export` writes is what was scored: loaded into a new model, it scores the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from emprune_lab.models import make_model
from emprune_lab.tasks import ImageTask, get_task
from emprune_lab.tasks.image_folder import image_folder
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file

from tests.lab.reports import call, write_run
from tests.lab.runs import small_settings

SIZE = ["--epochs", 2, "--train-size", 200, "--batch-size", 32, "--device", "cpu", "--precision", "fp32"]


@pytest.mark.parametrize("more", [[], ["--ema", 0.9]], ids=["plain", "averaged"])
def test_an_exported_model_scores_what_the_run_scored(tmp_path: Path, more: list[object]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert call("run", "digits", "--method", "emp", "--keep", 0.5, "--out", run, *SIZE, *more)[0] == 0
    code, printed, _ = call("export", run, "--out", out)
    assert code == 0
    assert [Path(line).name for line in printed.split()] == [
        "settings.json",
        "samples.csv",
        "model.safetensors",
        "model.json",
    ]
    settings = json.loads((out / "settings.json").read_text())
    with safe_open(out / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["emprune"]) == settings
    assert len(pd.read_csv(out / "samples.csv")) == 200
    task = get_task("digits")
    assert isinstance(task, ImageTask)
    test = task.load().test
    model = make_model(settings["training"]["model"], in_channels=1, num_classes=10)
    model.load_state_dict(load_file(out / "model.safetensors"))
    model.eval()
    with torch.no_grad():
        predicted = model(task.normalise(test.x)).argmax(1)
    accuracy = float((predicted == test.y).double().mean()) * 100
    assert accuracy == pytest.approx(json.loads((run / "result.json").read_text())["accuracy"])


def test_an_exported_model_names_the_class_of_an_image_file(tmp_path: Path) -> None:
    pets, run, out = tmp_path / "my pets", tmp_path / "run", tmp_path / "out"
    for name, color in {"cat": (250, 20, 20), "dog": (20, 20, 250)}.items():
        (pets / name).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (24, 16 + number), color).save(pets / name / f"{number}.png")
    given = ("--method", "full", "--keep", 1, "--data-dir", tmp_path / "data", *SIZE[:2], *SIZE[4:])
    assert call("run", f"image-folder:{pets}:size=16", "--out", run, *given)[0] == 0
    code, printed, said = call("export", run, "--out", out)
    assert (code, said) == (0, "")
    assert [Path(line).name for line in printed.splitlines()][-1] == "model.json"

    about = json.loads((out / "model.json").read_text())
    model = make_model(about["model"], in_channels=3, num_classes=about["num_classes"])
    model.load_state_dict(load_file(out / "model.safetensors"))
    model.eval()
    height, width = about["input_shape"][1:]
    named = {}
    for file in pets.rglob("*.png"):
        pixels = ImageOps.fit(Image.open(file).convert("RGB"), (width, height), Image.Resampling.BILINEAR)
        x = torch.tensor((np.asarray(pixels) - about["mean"]) / about["std"]).float().permute(2, 0, 1)
        named[file] = about["classes"][int(model(x[None]).argmax())]
    assert {file: file.parent.name for file in named} == named

    (pets / "bird").mkdir()
    Image.new("RGB", (24, 16)).save(pets / "bird" / "0.png")
    image_folder.cache_clear()
    code, printed, said = call("export", run, "--out", out)
    assert (code, (out / "model.json").exists(), (out / "model.safetensors").exists()) == (0, False, True)
    assert "are not those of the run" in said.replace("\n", " ")

    (pets / "cat" / "broken.png").symlink_to("/nowhere")
    image_folder.cache_clear()
    code, _, said = call("export", run, "--out", out)
    assert code == 0
    assert "are not those of the run" in said.replace("\n", " ")
    assert call("report", run)[0] == 0


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    code, _, said = call("export", tmp_path)
    assert code != 0
    assert "holds no finished run" in said.replace("\n", " ")
    write_run(tmp_path / "begun", small_settings("emp"))
    (tmp_path / "begun" / "result.json").unlink()
    code, _, said = call("export", tmp_path / "begun")
    assert code != 0
    assert "must hold a finished run" in said.replace("\n", " ")


def test_a_folder_of_several_runs_is_refused_with_the_names_of_some(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number}" for number in range(4)]
    for seed, folder in enumerate(folders):
        write_run(folder, small_settings("emp", seed=seed))
    code, _, said = call("export", tmp_path)
    assert code == 2
    assert f"with 4. Name one of them, such as {' or '.join(map(str, folders[:3]))}." in said.replace("\n", " ")


def test_the_model_of_an_earlier_epoch_is_not_exported(tmp_path: Path, finished_run: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"optimizer_steps": result["optimizer_steps"] + 1}))
    code, _, said = call("export", run, "--out", tmp_path / "out")
    assert code != 0
    assert "without its last checkpoint" in said.replace("\n", " ")
    assert not (tmp_path / "out").exists()
    assert call("export", finished_run, "--out", tmp_path / "out")[0] == 0
    held = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert call("export", run, "--out", tmp_path / "out")[0] != 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == held


def test_the_one_run_below_a_folder_is_exported(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "digits" / "seed-0")
    code, printed, _ = call("export", tmp_path)
    assert code == 0
    assert {Path(line).parent for line in printed.split()} == {tmp_path / "digits" / "seed-0" / "exported"}


@pytest.mark.parametrize("held", ["model.safetensors", "notes.txt", "settings.json"])
def test_a_folder_with_other_things_in_it_stays_as_it_is(tmp_path: Path, held: str, finished_run: Path) -> None:
    (tmp_path / held).write_text("theirs")
    code, _, said = call("export", finished_run, "--out", tmp_path)
    assert code != 0
    assert "an earlier export" in said.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == [held]
    assert (tmp_path / held).read_text() == "theirs"


def test_a_run_s_own_folder_is_none_of_an_export(finished_run: Path) -> None:
    held = {path.name: path.stat().st_mtime_ns for path in finished_run.iterdir()}
    assert call("export", finished_run, "--out", finished_run)[0] != 0
    assert {path.name: path.stat().st_mtime_ns for path in finished_run.iterdir()} == held


def test_an_export_may_be_written_again(tmp_path: Path, finished_run: Path) -> None:
    assert [call("export", finished_run, "--out", tmp_path / "new")[0] for _ in range(2)] == [0, 0]
