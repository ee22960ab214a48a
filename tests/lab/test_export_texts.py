"""A run on texts keeps its model, and `emprune export` writes it: loaded anew, it scores what the run scored."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from safetensors.torch import load_file

pytest.importorskip("transformers", reason="needs emprune-lab[texts]")

from emprune_lab.tasks.own_texts import own_texts
from emprune_lab.training.texts.fine_tuning import TextTraining
from transformers import pipeline

from tests.lab.reports import call
from tests.lab.runs import run_of
from tests.lab.texts import text_settings

TABLES = ("settings.json", "samples.csv")
FOR_TRANSFORMERS = ("config.json", "tokenizer.json", "tokenizer_config.json")
SIZE = ("--epochs", 2, "--keep", 0.5, "--batch-size", 4, "--max-lr", 0.01, "--device", "cpu", "--precision", "fp32")


def test_a_text_runs_exported_model_scores_what_the_run_scored(place: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    where = ("--model", f"hf:{place / 'model'}", "--data-dir", place / "data")
    assert call("run", "glue:mnli", "--method", "emp", "--out", run, *SIZE, *where)[0] == 0
    code, printed, said = call("export", run, "--out", out)
    assert (code, said) == (0, "")
    assert [Path(line).name for line in printed.split()] == [*TABLES, "model.safetensors", *FOR_TRANSFORMERS]
    settings = text_settings(place, epochs=2)
    fresh = TextTraining(run_of(settings, data_dir=place / "data"))
    assert fresh.trainer.model is not None
    fresh.trainer.model.load_state_dict(load_file(out / "model.safetensors"))
    result = json.loads((run / "result.json").read_text())
    assert fresh.evaluate("test")["loss"] == pytest.approx(result["loss"])
    assert fresh.evaluate("test")["accuracy"] == pytest.approx(result["accuracy"])


def test_a_text_run_of_a_comparison_keeps_no_model_and_export_says_so(place: Path, tmp_path: Path) -> None:
    where = ("--model", f"hf:{place / 'model'}", "--data-dir", place / "data")
    methods = ("--methods", "random-permutation", "--seeds", 1, "--jobs", 1)
    assert call("compare", "glue:mnli", *methods, "--out", tmp_path / "runs", *SIZE, *where)[0] == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text('{"task": "digits"}')  # of an earlier export, of another run
    (tmp_path / "out" / "model.safetensors").write_bytes(b"of digits")
    (run,) = [path.parent for path in (tmp_path / "runs").rglob("result.json")]
    code, printed, said = call("export", run, "--out", tmp_path / "out")
    assert code == 0
    assert [Path(line).name for line in printed.split()] == [*TABLES]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*TABLES}
    assert "kept no model" in said.replace("\n", " ")


def test_a_run_on_a_users_own_texts_names_samples_by_their_rows_and_its_export_classifies(
    place: Path, tmp_path: Path
) -> None:
    texts = ["good film", "bad plot", "a very good actor", "not quick", "the end", "slow film"] * 5
    lines = [f"{text},{'praise' if 'good' in text else 'blame'}" for text in texts]
    (tmp_path / "mine.csv").write_text("\n".join(["review,opinion", *lines]) + "\n")
    task, run = f"texts:{tmp_path / 'mine.csv'}:text=review:label=opinion", tmp_path / "run"
    where = ("--model", f"hf:{place / 'model'}", "--data-dir", place / "data")
    assert (
        call(
            "run", task, "--method", "full", "--out", run, *SIZE, "--keep", 1, "--epochs", 10, "--max-lr", 0.02, *where
        )[0]
        == 0
    )
    code, table, _ = call("suspects", run, "--top", 3, "--csv", tmp_path / "suspects.csv")
    assert code == 0
    for row in pq.read_table(run / "samples.parquet").to_pylist():
        assert row["text"] == texts[int(row["path"].removeprefix("mine.csv[").removesuffix("]"))]
    found = csv.read_csv(tmp_path / "suspects.csv").to_pylist()
    assert len(found) == 3
    assert all(f"{row['path']} {row['text']}" in table for row in found)
    (tmp_path / "mine.csv").rename(tmp_path / "away.csv")
    own_texts.cache_clear()
    code, _, said = call("export", run, "--out", tmp_path / "out")  # which needs no data
    assert (code, said) == (0, "")
    samples = csv.read_csv(tmp_path / "out" / "samples.csv").to_pylist()
    classify = pipeline("text-classification", str(tmp_path / "out"), device="cpu")
    assert (
        classify.model.config.label2id == {row["class"]: row["label"] for row in samples} == {"blame": 0, "praise": 1}
    )
    said_of = {row["text"]: classify(row["text"])[0]["label"] for row in samples}
    assert said_of == {row["text"]: row["class"] for row in samples}
