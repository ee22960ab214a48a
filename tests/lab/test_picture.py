"""The pictures of the results: texts that stand in them, and what is refused, on results whose values are known."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.reports import call_script, result_of
from tests.lab.runs import small_config

pytest.importorskip("matplotlib", reason="the extra dev has it")

SCRIPT = Path(__file__).parents[2] / "experiments/study/picture.py"
FOREST = SCRIPT.with_name("forest.py")
METHODS = ("full", "random-permutation", "infobatch:normalize=true", "emp:pool=2")


def results(keeps: tuple[float, ...]) -> dict[str, Any]:
    runs = [result_of(small_config("full", seed=seed)) for seed in range(3)]
    for method in METHODS[1:]:
        runs += [result_of(small_config(method, seed=seed, keep=keep)) for keep in keeps for seed in range(3)]
    return {"experiment": {"title": "Digits: what the time buys"}, "runs": runs}


def draw(folder: Path, name: str) -> list[str]:
    paths = [folder / "one.json", folder / "other.json"]
    for path, keeps in zip(paths, ((0.3, 0.1), (0.3,)), strict=True):
        path.write_text(json.dumps(results(keeps)))
    outcome = call_script(SCRIPT, *paths, "--out", folder / name)
    assert outcome.exit_code == 0, outcome.output
    return [(folder / f"{name}-{theme}.svg").read_text() for theme in ("light", "dark")]


def test_all_methods_and_costs_are_in_it_on_light_and_on_dark_pages(tmp_path: Path) -> None:
    light, dark = draw(tmp_path, "picture")
    for svg in (light, dark):
        texts = re.findall(r">([^<>\n]+)</text>", svg)
        assert texts.count("Digits") == texts.count("test accuracy, %") == 2
        assert texts.count("measured training time on one core, s") == 2
        assert {"full training", "random permutation", "InfoBatch, normalised", "EMP, pool 2"} <= set(texts)
        assert texts.count("30% of the visits") == 2
        assert texts.count("10% of the visits") == 1
    assert [ink in light for ink in ("#1d2129", "#e6e8ec")] == [True, False]
    assert [ink in dark for ink in ("#1d2129", "#e6e8ec")] == [False, True]


def test_the_title_of_the_last_panel_is_not_cut_off(tmp_path: Path) -> None:
    from matplotlib.textpath import TextPath

    title = "CLINC150, 1,800 questions of 150 intents, 10 epochs"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results((0.3,)) | {"experiment": {"title": f"{title}: what the time buys"}}))
    outcome = call_script(SCRIPT, path, path, "--out", tmp_path / "picture")
    assert outcome.exit_code == 0, outcome.output
    svg = (tmp_path / "picture-light.svg").read_text()
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    *_, last = re.findall(rf'font-size: (\d+)px[^>]* x="([\d.]+)"[^>]*>{title}</text>', svg)
    size, centre = map(float, last)
    assert width is not None
    assert centre + TextPath((0, 0), title, size=size).get_extents().width / 2 < float(width[1])


def test_the_same_results_make_the_same_file(tmp_path: Path) -> None:
    assert draw(tmp_path, "one") == draw(tmp_path, "other")


def test_gains_and_the_rival_s_losses_stand_above_each_other_by_visits(tmp_path: Path) -> None:
    runs = []
    for epochs in (7, 20, 60, 180):
        for method in METHODS[1:]:
            for seed in range(3):
                config = small_config(method, seed=seed, epochs=epochs, keep=0.3)
                gain = epochs / 100 if method == "emp:pool=2" else 0.1 * seed
                result = result_of(config, validation_loss=0.9, validation_accuracy=80 + gain, probe_loss=1 / epochs)
                runs.append(result)
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"experiment": {"title": "Digits: where does selection pay?"}, "runs": runs}))
    outcome = call_script(SCRIPT, path, "--against", "visits", "--out", tmp_path / "gain")
    assert outcome.exit_code == 0, outcome.output
    texts = re.findall(r">([^<>\n]+)</text>", (tmp_path / "gain-light.svg").read_text())
    assert {"2.1", "6", "18", "54", "digits, 160 images", "visits per image in the run"} <= set(texts)
    assert {"random permutation", "InfoBatch, normalised", "EMP, pool 2", "trained on", "not trained on"} <= set(texts)
    assert "full training" not in texts


def test_the_judgement_has_a_panel_per_task_a_row_per_rival_and_a_colour_per_keep(tmp_path: Path) -> None:
    digits = results((0.3, 0.1))["runs"]
    others = [result_of(small_config("full", task="simclr-digits", seed=seed)) for seed in range(3)]
    for method in ("emp:pool=2", "greedy"):
        others += [
            result_of(small_config(method, task="simclr-digits", seed=seed, keep=keep))
            for keep in (0.3, 0.1)
            for seed in range(3)
        ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"runs": digits + others}))
    outcome = call_script(FOREST, path, "--out", tmp_path / "judgement")
    assert outcome.exit_code == 0, outcome.output
    texts = re.findall(r">([^<>\n]+)</text>", (tmp_path / "judgement-dark.svg").read_text())
    assert {"digits", "simclr-digits", "random permutation", "greedy", "full training", "−0.3, the margin"} <= set(
        texts
    )
    assert {"keep 0.3", "keep 0.1"} <= set(texts)
    refused = call_script(FOREST, path, "--finalist", "emp:pool=3", "--out", tmp_path / "other")
    assert refused.exit_code == 2
    assert "must name one method of digits; got none" in refused.output
