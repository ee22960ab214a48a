"""Folders of finished runs for reports, written instead of trained: seconds saved, and any shape of them possible."""

import json
import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from emprune_lab.commands.app import app
from emprune_lab.method_spec import MethodSpec
from emprune_lab.pages.rendering import plotly_js
from emprune_lab.report.page import write_report
from emprune_lab.report.records import find_runs
from emprune_lab.results.record import RunRecord
from emprune_lab.settings import Settings
from typer.testing import CliRunner, Result

from tests.lab.runs import small_settings, splits_of

METHODS = ("full", "random-permutation", "emp:pool=2")
FIGURES = [
    "accuracy-time", "accuracy-cost", "accuracy-progress", "visits", "lorenz", "gini", "probe-loss", "churn",
    "greedy-overlap", "staleness", "class-accuracy", "class-visits",
]  # fmt: skip
VERSIONS = {"emprune": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "commit": "c0ffee"}
MACHINE = {"system": "Linux", "architecture": "x86_64", "cpu_count": 2, "device": "cpu", "device_name": "a processor",
           "precision": "fp32", "world_size": 1}  # fmt: skip
GAIN = {"full": 4.0, "random-permutation": 0.0, "emp": 2.0, "emp:pool=2": 2.0, "greedy": -3.0}


def result_of(settings: Settings, *, num_train: int = 160, **more: Any) -> dict[str, Any]:
    """Return what a run of these settings could have ended with."""
    share, epochs, seed, method = settings.cost.keep, settings.cost.epochs, settings.seed, str(settings.method)
    accuracy = 80 + GAIN.get(method, 1.0) + 0.3 * seed + (0.1 if seed % 2 else 0) * len(method)
    return {
        "format": 2,
        "accuracy": accuracy,
        "loss": 0.5,
        "class_accuracy": [min(100.0, accuracy + label - 5) for label in range(10)],
        "visits": round(share * num_train * epochs),
        "visits_fraction": share,
        "optimizer_steps": 100,
        "final_learning_rate": 1e-6,
        "train_seconds": 100.0 * share + seed,
        "evaluation_seconds": 1.0,
        "planning_seconds": 0.1,
        "num_train": num_train,
        "versions": VERSIONS,
        "machine": MACHINE,
        "method": method,
        "settings": settings.model_dump(),
        **more,
    }


def old_result_of(settings: Settings, *, tail_fraction: float | None = None, **more: Any) -> dict[str, Any]:
    """Return what a run of version 0.1 could have ended with, with a tail of this share of the visits."""
    found = {name: value for name, value in result_of(settings, **more).items() if name not in ("method", "settings")}
    config = {**settings.named(), **settings.flat()}
    for name in ("warmup_epochs", "tail_epochs"):
        del config[name]
    return {**found, "format": 1, "config": {**config, "warmup_fraction": 0.0, "tail_fraction": tail_fraction}}


def record_of(method: str, seed: int, **found: Any) -> RunRecord:
    """Return the record of a run whose method is called as it is given: a machine, and what is found."""
    name, *options = method.split(":")
    values = {option: value for option, _, value in (text.partition("=") for text in options)}
    spec = MethodSpec(name=name, options={**values})
    return RunRecord(small_settings("random", seed=seed).replace(method=spec), {"machine": MACHINE, **found})


def write_run(folder: Path, settings: Settings, **more: Any) -> Path:
    """Write a run's folder with all that a run leaves behind."""
    folder.mkdir(parents=True)
    num_train = len(splits_of(settings, None).train)
    _write(folder / "config.json", settings.model_dump())
    _write(folder / "result.json", result_of(settings, num_train=num_train, **more))
    records = [_record(settings, epoch) for epoch in range(settings.cost.epochs)]
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    samples = _samples(settings)
    pq.write_table(samples, folder / "samples.parquet")
    np.save(folder / "visits.npy", samples["visits"].to_numpy())
    return folder


def write_comparison(
    out: Path, methods: Sequence[str] = METHODS, *, seeds: Sequence[int] = (0, 1, 2), **settings: Any
) -> list[Path]:
    """Write the folders of a comparison, and its results.json; return the runs' folders."""
    folders = []
    for method in methods:
        chosen = {**settings, "keep": None} if method == "full" else settings
        for seed in seeds:
            made = small_settings(method, seed=seed, **chosen)
            folders.append(write_run(out / made.task / made.folder_name / f"seed-{seed}", made))
    runs = [json.loads((folder / "result.json").read_text()) for folder in folders]
    task = settings.get("task", "digits")
    experiment = {"task": task, "baseline": "random-permutation", "margin": 0.5, "title": "Does it <work>?"}
    _write(out / "results.json", {"format": 3, "experiment": experiment, "runs": runs})
    return folders


def page_of(*places: Path, out: Path, **options: Any) -> str:
    """The report without plotly.js, of which nothing is asked here."""
    text = write_report(find_runs(places), out, **options).read_text()
    assert plotly_js() in text
    return text.replace(plotly_js(), "")


def drawn(text: str) -> list[str]:
    return re.findall(r'data-figure="([^"]+)"', text)


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def call_script(script: Path, *arguments: object) -> Result:
    """Run a script whose `main` is a command."""
    command = typer.Typer()
    command.command()(runpy.run_path(str(script))["main"])
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def _record(settings: Settings, epoch: int) -> dict[str, Any]:
    seen = epoch >= 2
    summary = {
        "churn": None if epoch == 0 else 0.5 + 0.01 * settings.seed,
        "greedy_overlap": 0.4 + 0.02 * settings.seed if seen else None,
        "staleness": None if epoch == 0 else 1.0 + 0.1 * epoch + 0.01 * settings.seed,
    }
    measured = {"probe_loss": 2.0 / (epoch + 1) + 0.01 * settings.seed} if epoch % 2 else {}
    measured |= {"test_accuracy": 82 - 30 / 2**epoch + settings.seed, "seconds": 2.0}
    return {"epoch": epoch, "loss": 1.0, **measured, "summary": summary}


def _samples(settings: Settings) -> pa.Table:
    labels = splits_of(settings, None).train.y.numpy()
    draw = np.random.default_rng(settings.seed)
    visits = draw.integers(0, settings.cost.epochs + 1, len(labels)).astype(np.int32)
    loss = np.where(visits > 0, draw.random(len(labels)), np.nan).astype(np.float32)
    unseen = visits == 0
    return pa.table(
        {
            "index": np.arange(len(labels)),
            "label": labels,
            "visits": visits,
            "loss": pa.array(loss, mask=unseen),
            "memory": pa.array(2 * loss, mask=unseen),
            "score": pa.array(7 * loss, mask=unseen),
        }
    )


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values))
