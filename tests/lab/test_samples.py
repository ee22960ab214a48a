"""What a run records of each sample and of each class."""

import math
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from emprune_lab.environment import commit
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.training.arrays import ArrayTraining

from tests.distributed.pool import RankPool
from tests.lab.runs import SilentReporter, outcome, run_of, run_small, small_settings, splits_of
from tests.lab.test_images import write_folder
from tests.lab.test_ranks import share

COLUMNS = {
    "emp": ["index", "label", "visits", "loss", "memory", "score"],
    "ucb": ["index", "label", "visits", "loss", "mean", "variance", "score"],
    "random": ["index", "label", "visits", "loss", "score"],
}


@pytest.mark.parametrize("method", COLUMNS)
def test_every_sample_has_a_row_with_what_the_method_remembers(method: str, tmp_path: Path) -> None:
    training = run_small(small_settings(method, epochs=2), tmp_path)
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table.column_names == COLUMNS[method]
    types = {"index": "int64", "label": "int64", "visits": "int32"}
    assert [str(field.type) for field in table.schema] == [types.get(name, "float") for name in COLUMNS[method]]
    assert table["index"].to_pylist() == list(range(160))
    assert table["label"].to_pylist() == training.run.splits.train.y.tolist()
    visits = np.load(tmp_path / "visits.npy")
    assert visits.dtype == np.int32
    assert table["visits"].to_pylist() == visits.tolist()
    losses = table["loss"].to_pylist()
    assert [loss is None for loss in losses] == (visits == 0).tolist()
    fitted = sum(loss is not None and math.exp(-loss) > 0.5 for loss in losses)
    assert outcome(tmp_path)["fitted_fraction"] == fitted / 160
    assert 0 < (visits == 0).sum() < 160  # two epochs at 0.3 cannot see all
    score = table["score"].to_pylist()
    if method == "random":
        assert set(score) == {None}
    else:
        assert [value is None for value in score] == (visits == 0).tolist()
    if method == "emp":
        rows = [row for row in table.to_pylist() if row["visits"]]
        for row in rows:
            assert row["score"] == pytest.approx(row["loss"] + 3 * row["memory"], rel=1e-5)


def test_images_of_a_folder_are_recorded_by_path_and_class(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets" / "train", {"cat": 9, "owl": 11})
    write_folder(tmp_path / "pets" / "test", {"cat": 2, "owl": 2})
    task = f"image-folder:{tmp_path / 'pets'}:size=8"
    settings = small_settings("random", task=task, train_size=16, batch_size=4, epochs=1, label_noise=0.25)
    run = run_of(settings, data_dir=tmp_path / "data")
    ArrayTraining(run).train(RunFolder.open(tmp_path / "run", settings), report=SilentReporter())
    rows = pq.read_table(tmp_path / "run" / "samples.parquet").to_pylist()
    assert all((tmp_path / "pets" / row["path"]).is_file() for row in rows)
    assert len({row["path"] for row in rows}) == 16
    assert [row["class"] for row in rows] == [["cat", "owl"][row["label"]] for row in rows]
    wrong = [row for row in rows if row["path"].split("/")[1] != row["class"]]
    assert len(wrong) == 4  # the label that was given, which a quarter was made wrong of


def test_what_the_last_epoch_observed_is_in_it(tmp_path: Path) -> None:
    training = run_small(small_settings("greedy"), tmp_path)
    last = training.pruner.plan.index
    observed = training.pruner.stats["last_visit"]
    assert (observed[last] == 3).all()
    loss = torch.tensor(pq.read_table(tmp_path / "samples.parquet")["loss"].to_pylist(), dtype=torch.float32)
    assert loss[last].equal(training.pruner.stats["loss"][last])


def test_pre_training_records_labels_that_it_does_not_train_on(tmp_path: Path) -> None:
    settings = small_settings("emp", task="simclr-digits", epochs=1, keep=0.5)
    training = run_small(settings, tmp_path)
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table["label"].to_pylist() == training.run.splits.train.y.tolist()
    assert "class_accuracy" not in outcome(tmp_path)


@pytest.mark.distributed
def test_several_ranks_record_what_all_of_them_observed(ranks: RankPool, tmp_path: Path) -> None:
    ranks.run(share, small_settings("emp:pool=2"), tmp_path, world_size=2)
    table, visits = pq.read_table(tmp_path / "samples.parquet"), np.load(tmp_path / "visits.npy")
    assert table["visits"].to_pylist() == visits.tolist()
    assert [value is None for value in table["score"].to_pylist()] == (visits == 0).tolist()


def test_the_accuracy_of_the_classes_weighs_up_to_the_whole(finished_run: Path) -> None:
    result = outcome(finished_run)
    sizes = splits_of(small_settings(), None).test.y.bincount(minlength=10)
    assert len(result["class_accuracy"]) == 10
    mean = (torch.tensor(result["class_accuracy"]) * sizes).sum() / sizes.sum()
    assert float(mean) == pytest.approx(result["accuracy"], abs=1e-4)


def test_the_commit_is_that_of_the_source_and_of_no_other_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    package, installed = tmp_path / "package", tmp_path / "installed"
    for folder in (package, installed):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    assert commit(package) is None
    commit.cache_clear()
    git("init", "--quiet")
    git("add", "package")
    git("commit", "--quiet", "--message", "all of it")
    clean = commit(package)
    assert clean is not None
    assert len(clean) == 40
    assert commit(installed) is None
    commit.cache_clear()
    (package / "__init__.py").write_text("changed = True\n")
    assert commit(package) == f"{clean}-dirty"
    assert commit(tmp_path / "missing") is None
    commit.cache_clear()
