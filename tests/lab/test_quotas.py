"""Quotas of the classes in the lab: written after a method's `@`, kept in results, at the same cost."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.lab.reports import call

SIZE = ["--epochs", 6, "--imbalance", 8, "--batch-size", 32, "--device", "cpu", "--precision", "fp32"]


def test_classes_are_visited_alike_with_equal_quotas_at_the_same_cost(tmp_path: Path) -> None:
    methods = ["random-permutation", "random-permutation@equal", "emp@floor=0.1"]
    code, _, _ = call("compare", "digits", "--methods", ",".join(methods), "--seeds", 1, *SIZE, "--out", tmp_path)
    assert code == 0
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [run["method"] for run in runs] == [*methods[:2], "emp:pool=2@floor=0.1"]
    assert len({run["visits"] for run in runs}) == 1
    shares = {}
    for run in runs:
        folder = next(tmp_path.rglob(f"*{run['method'].replace(':', '-').replace('@', '-').replace('=', '-')}-*"))
        samples = pd.read_parquet(next(folder.rglob("samples.parquet")))
        shares[run["method"]] = samples.groupby("label")["visits"].sum() / samples["visits"].sum()
    assert float(shares["random-permutation"].max() / shares["random-permutation"].min()) > 6
    assert float(shares["random-permutation@equal"].max() / shares["random-permutation@equal"].min()) < 3


@pytest.mark.parametrize(("method", "keep"), [("full@equal", 1), ("greedy@floor=0.9", 0.3)])
def test_quotas_that_cannot_be_met_are_refused_before_training(tmp_path: Path, method: str, keep: float) -> None:
    code, _, said = call("run", "digits", "--method", method, "--keep", keep, "--out", tmp_path, *SIZE)
    assert code == 2
    named, got = ("`method` must have no @equal with keep=1", "got full@equal") if keep == 1 else ("`floor`", "")
    assert named in " ".join(said.split())
    assert got in " ".join(said.split())


def test_a_guard_is_written_after_a_method_and_holds_back_wrong_labels_at_the_same_cost(tmp_path: Path) -> None:
    methods = ["emp", "emp@guard=2"]
    noisy = ["--label-noise", 0.4, "--epochs", 12, "--batch-size", 32, "--device", "cpu", "--precision", "fp32"]
    code, _, _ = call("compare", "digits", "--methods", ",".join(methods), "--seeds", 1, *noisy, "--out", tmp_path)
    assert code == 0
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [run["method"] for run in runs] == ["emp:pool=2", "emp:pool=2@guard=2"]
    assert len({run["visits"] for run in runs}) == 1
    most = {}
    for run in runs:
        guarded = run["method"].endswith("guard=2")
        folder = next(tmp_path.rglob("emp-pool-2-guard-2-*" if guarded else "emp-pool-2-[!g]*"))
        samples = pd.read_parquet(next(folder.rglob("samples.parquet")))
        most[guarded] = int(samples["visits"].max())
    assert most[True] < most[False]
