import json
import re
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.analyses.questions import QUESTIONS
from emprune_lab.analyses.registry import ANALYSES
from emprune_lab.commands.app import app
from typer.testing import CliRunner

from emprune.errors import ConfigError
from tests.lab.analyses.support import SMALL, experiment_of, made

METHODS = {"static-removal": "full", "leave-one-out": "emp", "frontier": "full,random-permutation,emp"}


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_ends_in_a_table_numbers_and_a_picture_and_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    analysis = ANALYSES[name]
    task = "simclr-digits" if analysis.objective == "contrastive" else "digits"
    methods = METHODS.get(name, "random-permutation,emp")
    made(experiment_of(name, task, methods=methods.split(","), num_runs=2), tmp_path)  # here: a process costs seconds
    settings = [f"--{setting.replace('_', '-')}={value}" for setting, value in SMALL.items()]
    command = ["analyze", name, task, *settings, "--methods", methods, "--runs", "2", "--out", str(tmp_path)]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.stderr
    assert "emp" in first.stdout or "full" in first.stdout
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert (document["analysis"], document["task"], document["num_runs"]) == (name, task, 2)
    assert document["settings"] == {**analysis.question.settings, **SMALL}
    assert document["quantity"]
    assert len(document["methods"]) == len(methods.split(","))

    page = (tmp_path / f"{name}.html").read_text()
    assert page.rstrip().endswith("</html>")
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)  # nothing is fetched
    assert document["quantity"].split(":")[0] in page

    again = CliRunner().invoke(app, command)
    assert again.stdout == first.stdout
    assert "measuring" not in again.stderr
    assert json.loads((tmp_path / f"{name}.json").read_text()) == document


def test_an_analysis_makes_its_runs(tmp_path: Path) -> None:
    settings = [f"--{setting.replace('_', '-')}={value}" for setting, value in SMALL.items()]
    command = ["analyze", "leave-one-out", "digits", *settings, "--runs", "1", "--jobs", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert "measuring emp:pool=none, seed 0" in result.stderr
    assert "emp:pool=none" in (tmp_path / "leave-one-out-table.md").read_text()
    assert not (tmp_path / "results.json").exists()  # which is a comparison's, were there one in the folder


def test_help_says_what_an_analysis_asks_and_what_it_sets() -> None:
    overview = CliRunner().invoke(app, ["analyze", "--help"]).stdout
    assert all(name in overview for name in ANALYSES)
    for name, words in {
        "visits": "0.1",
        "frontier": "0.1, 0.2, 0.3, 0.5, 0.7",
        "theorem-1": "0.2",
        "static-removal": "0.9, 0.7, 0.5, 0.3, 0.1",
    }.items():
        shown = CliRunner().invoke(app, ["analyze", name, "--help"], terminal_width=200).stdout
        assert f"[default: ({words})]" in shown
        assert QUESTIONS[name].text.splitlines()[0].split(",")[0] in shown


def test_each_question_has_its_analysis() -> None:
    assert list(QUESTIONS) == list(ANALYSES)


@pytest.mark.parametrize(
    ("name", "task", "settings", "message"),
    [
        ("memorization", "simclr-digits", {}, "is an analysis of classification tasks; got 'simclr-digits'"),
        ("alignment-gap", "digits", {}, "is an analysis of contrastive tasks; got 'digits'"),
        ("memorization", "movie-reviews", {}, "measures models of images, which we train ourselves"),
        ("loss-curves", "simclr-digits", {}, "is an analysis of classification tasks"),
        ("loss-curves", "movie-reviews", {}, "measures models of images"),
        ("leave-one-out", "simclr-digits", {}, "is an analysis of classification tasks"),
        ("static-removal", "clinc150", {}, "measures models of images"),
        ("theorem-1", "simclr-digits", {}, "is an analysis of classification tasks"),
        ("memorization", "digits", {"subset_fraction": 1.0}, "`subset_fraction` must be below 1"),
        ("leave-one-out", "digits", {"subset_fraction": 0.5}, "`subset_fraction` must stay 1, so that one sample"),
        ("leave-one-out", "digits", {"leave_out": 2}, "`leave_out` must stay 1"),
        ("static-removal", "digits", {"subset_fraction": 1.0}, "below 1, so that something is removed"),
        ("memorization", "digits", {"num_runs": 1}, "`runs` must be at least 2"),
        ("visits", "digits", {"num_runs": 0}, "`runs` must be at least 1"),
        (
            "frontier",
            "digits",
            {"methods": ["full", "emp"]},
            "`methods` must hold full and random-permutation; got full",
        ),
        ("frontier", "digits", {"methods": ["random-permutation"]}, "`methods` must hold full .* Add full"),
        ("frontier", "digits", {"methods": ["full", "random-permutation"], "keep": 0.3}, "at least two values"),
        ("theorem-1", "digits", {"label_noise": 0.0}, "`label_noise` must be above 0; .* nothing to store"),
        ("visits", "digit", {}, "Unknown task"),
    ],
)
def test_what_cannot_be_analysed_is_refused(name: str, task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment_of(name, task, **settings)


def test_two_classes_are_refused_by_the_theorem_that_says_nothing_of_them(tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / label / "one.png")
    with pytest.raises(ConfigError, match=r"`task` must have at least 3 classes .* divides by log.C - 1. = 0"):
        experiment_of("theorem-1", f"image-folder:{tmp_path}:size=8")


def test_refusals_come_before_any_run_and_unknown_names_get_a_hint(tmp_path: Path) -> None:
    for arguments, message in (
        (["memorisation", "digits"], "Did you mean 'memorization'?"),
        (["theorem-1", "movie-reviews", "--out", str(tmp_path)], "measures models of images"),
        (["visits", "digits", "--keep", "0", "--out", str(tmp_path)], "`keep` must be in"),
    ):
        result = CliRunner().invoke(app, ["analyze", *arguments])
        assert result.exit_code == 2
        assert message in result.stderr
    assert not any(tmp_path.iterdir())
