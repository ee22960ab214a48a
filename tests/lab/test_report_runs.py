"""What a report reads, refuses and puts together, and the samples it shows."""

import json
import math
import re
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emprune_lab.comparison.statistics import mean_band, mean_interval
from emprune_lab.declaration import FIELDS, GROUPS
from emprune_lab.method_spec import MethodSpec
from emprune_lab.pages.drawing import Drawing, colours
from emprune_lab.report.extreme_samples import TrainingData, extreme_samples, load_training_data
from emprune_lab.report.figures import against_cost, against_time, by_epoch
from emprune_lab.report.provenance import commands
from emprune_lab.report.records import ReportedRun, find_runs
from emprune_lab.report.sections import CostGroup, divide_runs
from emprune_lab.results.record import RunRecord, read_record
from emprune_lab.settings import Settings
from emprune_lab.tasks.image_folder import image_folder

from emprune.errors import ConfigError
from tests.lab.reports import METHODS, call, drawn, old_result_of, page_of, result_of, write_comparison, write_run
from tests.lab.runs import small_settings
from tests.lab.test_images import write_folder


def test_a_run_is_taken_once_and_from_where_there_is_most(comparison: Path) -> None:
    for places in ([comparison], [comparison, comparison], [comparison / "results.json", comparison]):
        runs = find_runs(places).runs
        assert len(runs) == 9
        assert all(run.folder is not None for run in runs)
    assert all(run.folder is None for run in find_runs([comparison / "results.json"]).runs)


def test_of_a_run_made_twice_the_first_counts_and_it_is_said(comparison: Path, tmp_path: Path) -> None:
    document = json.loads((comparison / "results.json").read_text())
    for run in document["runs"][:2]:
        run["accuracy"] += 1
    (tmp_path / "results.json").write_text(json.dumps(document))
    both = [comparison, tmp_path / "results.json"]
    for places in (both, both[::-1]):
        found = find_runs(places)
        assert (len(found.runs), found.num_repeated) == (9, 2)
        first = find_runs(places[:1]).runs
        assert [run.result["accuracy"] for run in found.runs] == [run.result["accuracy"] for run in first]
    assert "2 runs were made again with the same settings and other results" in page_of(*both, out=tmp_path)


def test_a_trainer_s_checkpoints_and_an_export_are_no_runs(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "one", small_settings())
    write_run(tmp_path / "runs" / "two", small_settings(seed=1))
    (folder / "result.json").unlink()
    for step in (1, 2):
        (folder / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
        (folder / "checkpoints" / f"checkpoint-{step}" / "config.json").write_text("{}")
    (tmp_path / "runs" / "two" / "exported").mkdir()
    (tmp_path / "runs" / "two" / "exported" / "config.json").write_text("{}")
    assert find_runs([tmp_path / "runs"]).num_unfinished == 1


@pytest.mark.parametrize("order", [1, -1])
def test_a_section_has_the_title_and_the_margin_of_the_comparison_that_lists_its_runs(
    tmp_path: Path, order: int
) -> None:
    places = [tmp_path / "runs", tmp_path / "longer"][::order]
    write_comparison(tmp_path / "runs", METHODS[1:])
    runs = write_comparison(tmp_path / "longer", METHODS[1:], epochs=6)
    results = tmp_path / "longer" / "results.json"
    document = json.loads(results.read_text())
    document["experiment"] |= {"title": "longer", "margin": None, "baseline": "emp:pool=2"}
    results.write_text(json.dumps(document))
    sections = divide_runs(find_runs(places).runs)[::order]
    said = [(section.title, section.groups[0].margin, section.groups[0].baseline) for section in sections]
    assert said == [("Does it <work>?", 0.5, "random-permutation"), ("longer", None, "emp:pool=2")]
    assert len(sections[1].runs) == len(runs)


def test_full_training_stands_beside_runs_that_begin_with_another_run_s_samples(tmp_path: Path) -> None:
    write_comparison(tmp_path / "full", ["full"])
    first = tmp_path / "samples.parquet"
    for content in ("one", "two"):
        first.write_text(content)
        write_comparison(tmp_path / content, METHODS[1:], initial=str(first))
    (section,) = divide_runs(find_runs([tmp_path / name for name in ("full", "one", "two")]).runs)
    assert [group.title for group in section.groups] == [f"keep 0.3, initial {first}"] * 2
    assert all(group.by_method.keys() == set(METHODS) for group in section.groups)
    assert f"--initial {first}" in commands(section)[0]


def test_where_no_other_run_recorded_its_visits_that_is_said(tmp_path: Path, comparison: Path) -> None:
    full = sorted(comparison.glob("digits/full-*"))
    text = page_of(comparison / "results.json", *full, out=tmp_path)
    assert "No run of a method that chooses recorded its visits." in text
    assert "Only full was run" in page_of(*full, out=tmp_path)


def test_the_baseline_is_the_comparison_s_or_the_one_asked_for(comparison: Path, tmp_path: Path) -> None:
    found = find_runs([comparison])
    (section,) = divide_runs(found.runs, baseline="full")
    assert {row.method: row.difference is None for row in section.groups[0].rows} == {
        "full": True, "random-permutation": False, "emp:pool=2": False,
    }  # fmt: skip
    assert section.groups[0].margin == 0.5
    with pytest.raises(ConfigError, match="`baseline` must be one of the methods that were run, .*; got 'greedy'"):
        divide_runs(found.runs, baseline="greedy")


def test_a_baseline_may_leave_its_options_out_as_in_a_comparison(tmp_path: Path) -> None:
    write_comparison(tmp_path / "views", ["random-permutation", "emp"], task="simclr-digits")
    write_comparison(tmp_path / "labels", ["random-permutation", "emp"])
    found = find_runs([tmp_path / "views", tmp_path / "labels"])
    sections = divide_runs(found.runs, baseline="emp")
    named = [section.groups[0].baseline for section in sections]
    assert named == ["emp:memory=instance-entropy:pool=2", "emp:pool=2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "holds no finished run"), ("{", "is neither a folder of runs nor a readable results.json"),
     ("[]", "holds something else than results of emprune"), ('{"accuracy": 1}', "holds something else"),
     ('{"runs": [{"config": 3}]}', "holds something else"), ('{"runs": []}', "holds no finished run"),
     ('{"runs": [], "experiment": 5}', "`experiment` must be a table; got 5"),
     ('{"runs": [], "experiment": {"settings": null}}', "`settings` must be a table; got None")],
)  # fmt: skip
def test_bad_input_is_a_message_and_exit_code_2(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    code, _, stderr = call("report", tmp_path)
    assert code == 2
    assert message in stderr
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [({"accuracy": None}, "`accuracy` must be a number; got None"), ({"accuracy": "x"}, "must be a number; got 'x'"),
     ({"machine": "x"}, "`machine` must be a table; got 'x'"), ({"versions": []}, "`versions` must be a table")],
)  # fmt: skip
def test_a_damaged_result_is_refused_by_name(damage: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", small_settings(), **damage)
    code, _, stderr = call("report", tmp_path)
    assert code == 2
    assert f"{folder / 'result.json'} holds something else than results of emprune: " in stderr
    assert message in stderr


def test_a_damaged_log_counts_as_none(tmp_path: Path) -> None:
    for seed, line in enumerate(["{}", "5", '{"summary": {}}', '{"summary": null}', "{"]):
        folder = write_run(tmp_path / str(seed), small_settings(seed=seed))
        (folder / "log.jsonl").write_text(f"{line}\n" * small_settings().cost.epochs)
    assert [run.log for run in find_runs([tmp_path]).runs] == [None] * 5
    assert "No run has its log" in page_of(tmp_path, out=tmp_path)


def test_a_place_that_mixes_tasks_or_is_not_there_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "one", small_settings())
    write_run(tmp_path / "two", small_settings(task="simclr-digits"))
    code, _, stderr = call("report", tmp_path)
    assert code == 2
    assert "mixes runs of 2 tasks, which do not compare: digits, simclr-digits." in stderr
    assert call("report", tmp_path / "nowhere")[0] == 2
    assert call("report", tmp_path / "one", "--baseline", "greedy")[0] == 2


def group_of(*folders: Path) -> CostGroup:
    runs = find_runs(folders).runs
    return divide_runs(runs)[0].groups[0]


def test_the_samples_are_the_most_and_least_visited_and_wrong_labels_are_marked(tmp_path: Path) -> None:
    settings = small_settings("emp", label_noise=0.3)
    folder = write_run(tmp_path / "run", settings)
    group = group_of(folder)
    training = load_training_data(group, None)
    assert isinstance(training, TrainingData)
    assert training.true is not None
    (extremes,) = extreme_samples(group, training, num_samples=12)
    visits, wrong = np.load(folder / "visits.npy"), (training.split.y != training.true).numpy()
    assert [sample.visits for sample in extremes.most] == sorted(visits.tolist(), reverse=True)[:12]
    assert [sample.visits for sample in extremes.least] == sorted(visits.tolist())[:12]
    for sample in (*extremes.most, *extremes.least):
        assert sample.label == int(training.split.y[sample.index])
        assert (sample.true is not None) == wrong[sample.index]
        assert bool(sample.values) == (visits[sample.index] > 0)
    assert "made wrong, is" in page_of(folder, out=tmp_path)


def test_a_sample_s_card_has_no_mean_of_classes_or_of_epochs_that_never_were(tmp_path: Path) -> None:
    folders = write_comparison(tmp_path, ["emp"], seeds=[0, 1, 2])
    for seed, folder in enumerate(folders):
        samples = pq.read_table(folder / "samples.parquet")
        visits = samples["visits"].to_numpy()
        recorded = {"recorded": visits, "predicted": visits * 0 + 3 * seed, "right": visits * 0 - 1}
        recorded |= {"first_learnt": visits * 0 + seed - 1, "forgotten": visits, "mean_loss": visits / 2}
        for name, values in recorded.items():
            samples = samples.append_column(name, [values])
        pq.write_table(samples, folder / "samples.parquet")
    group = group_of(*folders)
    training = load_training_data(group, None)
    assert isinstance(training, TrainingData)
    (extremes,) = extreme_samples(group, training, num_samples=1)
    shown = [name for name, _ in extremes.most[0].values]
    assert shown == ["loss", "memory", "score", "forgotten", "mean_loss"]


def test_the_samples_come_in_the_order_of_the_sentences(tmp_path: Path) -> None:
    few = write_comparison(tmp_path / "few", ["emp:pool=3"], seeds=[4])
    folders = write_comparison(tmp_path / "all", ["random-permutation", "greedy", "emp"], seeds=range(5))
    group = group_of(*few, *folders)
    training = load_training_data(group, None)
    assert isinstance(training, TrainingData)
    shown = [extremes.method for extremes in extreme_samples(group, training, num_samples=1)]
    assert shown == ["emp:pool=2", "greedy", "emp:pool=3"]


@pytest.mark.parametrize("settings", [{"subset_fraction": 0.5}, {"leave_out": 1}])
def test_where_each_seed_has_samples_of_its_own_one_seed_s_are_shown(settings: dict[str, Any], tmp_path: Path) -> None:
    folders = write_comparison(tmp_path, ["emp"], seeds=[3, 4], **settings)
    group = group_of(*folders)
    training = load_training_data(group, None)
    assert isinstance(training, TrainingData)
    assert training.seed == 3
    (extremes,) = extreme_samples(group, training, num_samples=5)
    visits = np.load(folders[0] / "visits.npy")
    assert [sample.visits for sample in extremes.most] == sorted(visits.tolist(), reverse=True)[:5]
    assert "class-visits" in drawn(page_of(tmp_path, out=tmp_path))


def test_data_that_are_not_here_or_not_those_are_a_reason(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", small_settings("emp"))
    run = find_runs([folder]).runs[0]

    def with_settings(**changes: Any) -> Any:
        values = {**run.result.settings.flat(), **changes}
        settings = Settings.of(values.pop("task", "digits"), run.result.settings.method, 0, values)
        changed = RunRecord(settings, run.result.found)
        return load_training_data(divide_runs([ReportedRun(changed, folder)])[0].groups[0], tmp_path)

    assert "The data are not on this machine: `emprune data mnist`" in with_settings(task="mnist", model="small-resnet")
    assert "The data here have 150 training samples, the runs' had 160." in with_settings(train_size=150)
    assert "The data cannot be loaded: " in with_settings(task="nothing")


def test_the_band_is_the_interval_of_each_point() -> None:
    values = np.random.default_rng(0).normal(size=(4, 3))
    mean, half = mean_band(values)
    for point in range(3):
        expected = mean_interval(values[:, point].tolist())
        assert (mean[point], half[point]) == pytest.approx((expected.mean, expected.half_width))
    assert np.isnan(mean_band(values[:1])[1]).all()


def test_each_method_looks_the_same_everywhere_and_unlike_the_others() -> None:
    styles = colours(["full", *(f"emp:beta={beta}" for beta in range(30))])
    assert len({(style["color"], style["dash"]) for style in styles.values()}) == 31


def test_a_loss_that_rises_by_orders_of_magnitude_leaves_the_others_legible(tmp_path: Path) -> None:
    folders = write_comparison(tmp_path, ["emp", "infobatch"], seeds=[0, 1])
    (folders[-1] / "log.jsonl").write_text(
        (folders[-1] / "log.jsonl").read_text().replace('_loss": 1.01', '_loss": 1e5')
    )
    figure = by_epoch(group_of(*folders), colours(["emp:pool=2", "infobatch"]))[0]
    assert figure.name == "probe-loss"
    assert figure.drawing is not None
    assert figure.drawing.layout.yaxis.type == "log"
    assert min(min(trace.y) for trace in figure.drawing.data) > 0  # an interval's end below 0 would not be drawn


def test_a_score_below_0_has_a_place_on_the_axis_and_an_accuracy_takes_no_room_there() -> None:
    def ranges(**more: Any) -> set[str]:
        (section,) = divide_runs([ReportedRun(read_record(result_of(small_settings("emp"), **more)))])
        drawings = [draw(section, colours(["emp:pool=2"])).drawing for draw in (against_cost, against_time)]
        return {drawing.layout.yaxis.rangemode for drawing in drawings if drawing is not None}

    assert ranges() == {"nonnegative"}
    assert ranges(metric="Matthews", score=-0.4) == {"normal"}


def test_a_curve_of_one_epoch_is_a_point_that_can_be_seen() -> None:
    drawing = Drawing("epoch", "loss", colours(["emp"]))
    drawing.band("emp", [1], np.array([[0.5]]), hover="%{y}")
    assert [trace.mode for trace in drawing.figure.data] == ["markers"]


@pytest.mark.parametrize("name", ["javascript:alert(1)//", "50% #1?x", 'a"b<c>&d', "a:b", "ü ~"])
def test_a_link_leads_to_the_file_whatever_the_folder_is_called(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "page" / name / "run", small_settings())
    text = page_of(tmp_path / "page", out=tmp_path / "page")
    (link,) = re.findall(r'<a href="([^"]*parquet)">', text)
    assert re.fullmatch(r"\./[\w./%~-]+", link)
    assert tmp_path / "page" / urllib.parse.unquote(link) == folder / "samples.parquet"


def test_names_out_of_files_are_text_and_nothing_else(tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)><a href="javascript:alert(1)">%{y}</a>'
    settings = small_settings("emp").replace(method=MethodSpec(name=evil), model=evil)
    samples = pq.read_table(write_run(tmp_path / "run", small_settings("emp")) / "samples.parquet")
    named = samples.append_column("class", pa.array([evil] * len(samples)))
    pq.write_table(named, tmp_path / "run" / "samples.parquet")
    result = result_of(settings, metric=evil, score=50.0, versions={evil: evil})
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    text = page_of(tmp_path / "run", out=tmp_path)
    assert "onerror=alert" in text
    assert "<img src=x" not in text
    assert 'href="javascript' not in text
    shown = re.findall(r'"(?:text|hovertemplate)":"((?:[^"\\]|\\.)*)"|"ticktext":\[(.*?)\]', text)
    assert any("&amp;lt;img" in part or "\\u0026lt;img" in part or "&lt;img" in part for pair in shown for part in pair)
    assert not any("\\u003cimg" in part for pair in shown for part in pair)  # plotly would take it for a tag


@pytest.mark.parametrize(
    "damage",
    [{"accuracy": math.nan}, {"loss": math.inf}, {"visits": 10**400}, {"class_accuracy": [1, "x"]}, {"metric": 3},
     {"class_accuracy": {}}, {"optimizer_steps": -math.inf}, {"train_seconds": []}, {"probe_loss": "low"}],
)  # fmt: skip
def test_an_odd_result_is_refused_by_name(damage: dict[str, Any], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", small_settings(), **damage)
    code, _, stderr = call("report", tmp_path)
    assert code == 2
    assert f"{folder / 'result.json'} holds something else than results of emprune: " in stderr
    assert f"`{next(iter(damage))}` must be" in stderr


def test_settings_that_were_left_out_are_at_their_defaults(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", small_settings())
    result = json.loads((folder / "result.json").read_text())
    for group, model in GROUPS.items():
        needed = {name for name, field in model.model_fields.items() if field.is_required()}
        result["settings"][group] = {name: result["settings"][group][name] for name in needed}
    (folder / "result.json").write_text(json.dumps(result))
    assert call("report", folder)[0] == 0
    old = old_result_of(small_settings())
    needed = {name for name, field in FIELDS.items() if field.is_required()} | {"task", "method"}
    config = {name: value for name, value in old["config"].items() if name in needed}
    (folder / "result.json").write_text(json.dumps({**old, "config": config}))
    assert call("report", folder)[0] == 0


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe\x00", b'"text"', b"1" * 5000, b'{"runs": {}}'])
def test_a_file_of_another_program_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    for name in ("result.json", "results.json"):
        (tmp_path / name).write_bytes(content)
        code, _, stderr = call("report", tmp_path / name)
        assert code == 2
        assert str(tmp_path / name) in stderr


ODD_COLUMNS = {
    "words": pa.array(["x"] * 160),
    "nothing": pa.array([None] * 160, pa.int64()),
    "below zero": pa.array([-1] * 160),
    "beyond all": pa.array([10**12] * 160),
    "fractions": pa.array([math.nan] * 160),
    "lists": pa.array([[1]] * 160),
}


def write_odd_run(folder: Path, name: str, kind: str, *, seed: int = 0) -> Path:
    """Write a run with a column of its samples that holds what it must not; return the samples' file."""
    write_run(folder, small_settings(seed=seed))
    (folder / "visits.npy").unlink()
    samples = pq.read_table(folder / "samples.parquet")
    kept = samples.drop_columns([name]) if name in samples.column_names else samples
    pq.write_table(kept.append_column(name, ODD_COLUMNS[kind]), folder / "samples.parquet")
    return folder / "samples.parquet"


@pytest.mark.parametrize("name", ["label", "visits"])
def test_odd_samples_are_left_out_and_named(name: str, tmp_path: Path) -> None:
    files = [write_odd_run(tmp_path / kind, name, kind, seed=seed) for seed, kind in enumerate(ODD_COLUMNS)]
    code, _, stderr = call("report", tmp_path)
    assert code == 0
    for file in files:
        assert f"{file} is damaged, and left out." in stderr
    text = (tmp_path / "report.html").read_text()
    assert "Left out, because they are damaged" in text


@pytest.mark.parametrize("kind", ODD_COLUMNS)
@pytest.mark.parametrize("name", ["loss", "class"])
def test_samples_with_odd_columns_that_no_figure_needs_stay_in(kind: str, name: str, tmp_path: Path) -> None:
    write_odd_run(tmp_path / "run", name, kind)
    code, _, stderr = call("report", tmp_path)
    assert code == 0
    assert "damaged" not in stderr
    assert "Left out, because they are damaged" not in (tmp_path / "report.html").read_text()


def test_odd_visits_are_left_out_and_named(tmp_path: Path) -> None:
    odd = [np.array(3), np.zeros((4, 2), int), np.full(160, -1), np.full(160, 10**12), np.zeros(0, int),
           np.array(["x"]), np.full(160, math.nan)]  # fmt: skip
    files = [write_run(tmp_path / str(n), small_settings(seed=n)) / "visits.npy" for n in range(len(odd))]
    for file, visits in zip(files, odd, strict=True):
        (file.parent / "samples.parquet").unlink()
        np.save(file, visits)
    said = call("report", tmp_path)[2]
    for file in files:
        assert f"{file} is damaged, and left out." in said


def test_classes_and_files_are_called_by_their_names(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets" / "train", {"cat": 9, "owl": 11})
    write_folder(tmp_path / "pets" / "test", {"cat": 2, "owl": 2})
    settings = small_settings("greedy", task=f"image-folder:{tmp_path / 'pets'}:size=8", train_size=None)
    folder = write_run(tmp_path / "run", settings)
    text = page_of(folder, out=tmp_path, data_dir=tmp_path / "data")
    assert "train/owl/" in text
    assert "class owl" in text
    samples = pq.read_table(folder / "samples.parquet")
    named = samples.append_column("class", pa.array([["cat", "owl"][label] for label in samples["label"].to_pylist()]))
    pq.write_table(named, folder / "samples.parquet")
    shutil.rmtree(tmp_path / "pets")
    image_folder.cache_clear()
    assert "class cat</td>" in page_of(folder, out=tmp_path, data_dir=tmp_path / "data")
