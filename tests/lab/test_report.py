"""What a report reads, puts together, shows, and leaves out with a reason."""

import itertools
import json
import re
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.commands import compare as comparing
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.queue import Queue
from emprune_lab.report import page
from emprune_lab.report.page import write_report
from emprune_lab.report.provenance import commands, facts
from emprune_lab.report.records import Found, ReportedRun, find_runs
from emprune_lab.report.sections import divide_runs
from emprune_lab.results.record import read_record
from rich.console import Console

from emprune.errors import ConfigError
from tests.lab.reports import (
    FIGURES,
    METHODS,
    call,
    drawn,
    old_result_of,
    page_of,
    result_of,
    write_comparison,
    write_run,
)
from tests.lab.runs import settings_for, small_settings

MISSING = 'class="missing"'


def test_everything_is_on_the_page_and_nothing_comes_from_elsewhere(comparison: Path, tmp_path: Path) -> None:
    text = page_of(comparison, out=tmp_path)
    assert drawn(text) == FIGURES
    assert MISSING not in text
    assert "Does it &lt;work&gt;?" in text
    assert "The score is worth having, as far as 3 seeds can tell. emp:pool=2 is" in text
    assert "non-inferior" in text
    assert "class 0</td><td>79" in text  # the worst class of random permutation
    assert text.count("data:image/png;base64,") == 24
    assert len(re.findall(r'<p class="note">[^<]*95 % intervals', text)) == len(FIGURES)
    for part in ("c0ffee", "a processor", "seed 2", "memory", "tiny-resnet", "seeds can tell"):
        assert part in text
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert "file:" not in text
    assert all(not link.startswith(("/", "http")) for link in re.findall(r'<a href="([^"]+)"', text))
    for link in re.findall(r'<a href="([^"#]+)"', text):
        assert (tmp_path / link).is_file()


def test_a_page_is_smaller_than_a_megabyte_and_a_half(comparison: Path, tmp_path: Path) -> None:
    assert write_report(find_runs([comparison]), tmp_path).stat().st_size < 1.5e6


def test_results_alone_make_a_report_that_says_what_is_missing(comparison: Path, tmp_path: Path) -> None:
    text = page_of(comparison / "results.json", out=tmp_path)
    assert drawn(text) == ["accuracy-time", "accuracy-cost", "class-accuracy"]
    for reason in (
        "No run recorded its visits",
        "No run has its log",
        "What each class was visited is not known",
        "No run recorded its samples",
    ):
        assert reason in text


@pytest.mark.parametrize(
    ("name", "missing"),
    [("test_accuracy", ["accuracy-progress"]), ("samples.parquet", []), ("class_accuracy", ["class-accuracy"]),
     ("log.jsonl", ["accuracy-progress", "probe-loss", "churn", "greedy-overlap", "staleness"]),
     ("probe_loss", ["probe-loss"]), ("greedy_overlap", ["greedy-overlap"])],
)  # fmt: skip
@pytest.mark.parametrize("damaged", [False, True])
def test_what_a_run_lacks_is_left_out_alone(name: str, missing: list[str], damaged: bool, tmp_path: Path) -> None:
    for folder in write_comparison(tmp_path, METHODS[1:], seeds=[0]):
        if "." in name:
            (folder / name).write_text("{ damaged") if damaged else (folder / name).unlink()
        else:
            strip(folder / ("result.json" if name == "class_accuracy" else "log.jsonl"), name)
    text = page_of(tmp_path, out=tmp_path / "out")
    assert drawn(text) == [figure for figure in FIGURES if figure not in missing]
    assert text.count(MISSING) == len(missing) + (name == "samples.parquet")
    assert "data:image/png;base64," in text  # by visits.npy and the data's own labels


def strip(path: Path, name: str) -> None:
    """Take an entry out of a file of JSON lines, or out of what a line holds."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record.pop(name, None)
        if name in record.get("summary", {}):
            record["summary"][name] = None
    path.write_text("\n".join(map(json.dumps, records)))


def test_one_run_alone_is_a_report_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", small_settings("emp"))
    text = page_of(folder, out=tmp_path)
    assert "Random permutation was not run." in text
    assert "full was not run with these settings" in text
    assert "emprune run digits --method emp:pool=2 --seed 0" in text
    assert set(FIGURES) == set(drawn(text))


def test_full_alone_has_no_samples_to_show(tmp_path: Path) -> None:
    write_run(tmp_path / "run", small_settings("full"))
    text = page_of(tmp_path, out=tmp_path)
    assert "Only full was run" in text
    assert "accuracy-cost" in drawn(text)


def test_texts_with_a_metric_of_their_own_and_probes_are_named(tmp_path: Path) -> None:
    settings = small_settings("emp", task="simclr-digits", batch_size=16)
    write_run(tmp_path / "probe", settings, knn_accuracy=70.0, class_accuracy=None)
    text = page_of(tmp_path / "probe", out=tmp_path)
    assert "points of accuracy of a linear probe" in text
    assert "Accuracy of a linear probe against cost" in text
    assert "class-accuracy" not in drawn(text)
    cola = settings_for("glue:cola", "emp", model="minilm", device="cpu", precision="fp32")
    texts = result_of(cola, metric="Matthews", score=33.0)
    (tmp_path / "texts.json").write_text(json.dumps({"runs": [texts]}))
    text = page_of(tmp_path / "texts.json", out=tmp_path)
    assert "points of Matthews, 100 being perfect," in text
    assert "Matthews against cost" in text


def test_what_is_of_another_version_or_machine_still_reads(tmp_path: Path) -> None:
    results = []
    for seed in (0, 1):
        result = old_result_of(small_settings("emp", seed=seed))
        for name in ("schedule", "subset_fraction", "optimizer"):
            del result["config"][name]
        result["config"] |= {"task": "image-folder:/nowhere", "method": "of-somebody-else:alpha=1.0"}
        results.append(result)
    (tmp_path / "results.json").write_text(json.dumps({"runs": results}))
    text = page_of(tmp_path, out=tmp_path)
    assert "of-somebody-else:alpha=1.0 has 30 % of the visits." in text


def test_a_setting_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    for result, settings in ((result_of(small_settings()), "settings"), (old_result_of(small_settings()), "config")):
        result[settings]["from-the-future"] = 1
        (tmp_path / "results.json").write_text(json.dumps({"runs": [result]}))
        with pytest.raises(ConfigError, match="results.json holds .*`from-the-future`"):
            find_runs([tmp_path])


@pytest.mark.parametrize("name", ["world_size", "num_ranks"])
def test_how_many_ranks_a_run_had_is_read_under_either_name(tmp_path: Path, name: str) -> None:
    results = [result_of(small_settings(method)) for method in METHODS[:2]]
    for result in results:
        result["machine"] = {**{k: v for k, v in result["machine"].items() if k != "world_size"}, name: 2}
    (tmp_path / "results.json").write_text(json.dumps({"runs": results}))
    assert ", 2 ranks" in page_of(tmp_path, out=tmp_path)


def test_costs_get_a_group_each_and_share_what_costs_as_it_wants(tmp_path: Path) -> None:
    write_comparison(tmp_path, keep=0.3)
    write_comparison(tmp_path / "more", METHODS[1:], keep=0.1, tail_epochs=1)
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    assert [group.title for group in section.groups] == ["keep 0.3", "keep 0.1, tail epochs 1"]
    assert all(group.by_method.keys() == set(METHODS) for group in section.groups)
    assert len(section.runs) == 15
    text = page_of(tmp_path, out=tmp_path)
    assert drawn(text) == FIGURES[:2] + 2 * FIGURES[2:]
    again = commands(section)
    assert again[0] == (
        "emprune compare digits --methods full,emp:pool=2,random-permutation --seeds 3 --keep 0.3 --epochs 4 "
        "--train-size 160 --batch-size 16 --device cpu --precision fp32 --margin 0.5 --out runs/again"
    )
    assert "--keep 0.1 --epochs 4 --tail-epochs 1" in again[1]


@pytest.mark.parametrize(("seconds", "said"), [(431_999.0, "120.00 h"), (19.0, "20.0 s")])
def test_what_all_runs_took_is_said_in_hours_or_less(seconds: float, said: str) -> None:
    (section,) = divide_runs([ReportedRun(read_record(result_of(small_settings("emp"), train_seconds=seconds)))])
    assert dict(facts(section))["runs"] == f"1, {said} in all"


def test_the_command_makes_the_same_runs_again(comparison: Path) -> None:
    (section,) = divide_runs(find_runs([comparison]).runs)
    name, sub, task, *options = shlex.split(commands(section)[0])
    assert (name, sub, task) == ("emprune", "compare", "digits")
    code, stdout, _ = call("compare", "digits", *options[:-1], comparison, "--dry-run")
    assert code == 0
    assert "0 runs left" in stdout


def options_in(command: str) -> dict[str, str]:
    return dict(itertools.pairwise(shlex.split(command)))


def test_seeds_with_a_gap_are_made_again_by_a_command_each_and_reported_together(tmp_path: Path) -> None:
    write_comparison(tmp_path, METHODS[1:], seeds=(0, 1, 5, 6, 9))
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    *made, last = commands(section)
    assert [options_in(command)["--seeds"] for command in made] == ["2", "5-6", "9-9"]
    assert {options_in(command)["--out"] for command in made} == {"runs/again"}
    assert last == "emprune report runs/again"


def test_several_keeps_are_made_again_by_one_command(tmp_path: Path) -> None:
    for keep in (0.5, 0.2):
        write_comparison(tmp_path, METHODS if keep == 0.5 else METHODS[1:], seeds=(0, 1), keep=keep)
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    (command,) = commands(section)
    assert options_in(command)["--keep"] == "0.5,0.2"
    code, printed, stderr = call(*shlex.split(command)[1:-1], tmp_path, "--dry-run")
    assert code == 0, stderr
    assert "0 runs left" in printed


def test_single_runs_at_several_keeps_are_made_again_in_one_folder(tmp_path: Path) -> None:
    for keep in (0.5, 0.2):
        write_run(tmp_path / f"{keep}", small_settings("emp", keep=keep))
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    (command,) = commands(section)
    assert "compare digits --methods emp:pool=2 --seeds 1 --keep 0.5,0.2" in command


def test_a_run_on_several_threads_is_made_again_on_as_many(tmp_path: Path) -> None:
    write_run(tmp_path / "run", small_settings("emp", threads=2))
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    (command,) = commands(section)
    assert options_in(command)["--threads"] == "2"
    assert "experiment file" not in command


def test_a_setting_without_an_option_is_said_beside_the_command(tmp_path: Path) -> None:
    write_comparison(tmp_path, METHODS[1:], leave_out=1)
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    assert commands(section)[0].endswith("--out runs/again  # and in an experiment file: leave_out=1")


def test_what_the_accuracy_is_measured_on_is_said(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"{seed}", small_settings(seed=seed, validation=0.2), validation_accuracy=70.0 + seed)
    text = page_of(tmp_path, out=tmp_path)
    assert "points of accuracy on the validation part after the last epoch" in text
    assert "on the test set" not in text


def test_a_comparison_ends_with_its_report(comparison: Path, tmp_path: Path) -> None:
    shutil.copytree(comparison, tmp_path / "runs")
    (section,) = divide_runs(find_runs([comparison]).runs)
    options = shlex.split(commands(section)[0])[3:-1]
    code, stdout, stderr = call("compare", "digits", *options, tmp_path / "runs", "--margin", 0.2)
    assert code == 0, stderr
    report = tmp_path / "runs" / "report.html"
    assert [line.split(":")[0] for line in stdout.splitlines() if line.startswith(("Save:", "Lose:", "Which:"))] == [
        "Save", "Lose", "Which"
    ]  # fmt: skip
    assert stdout.splitlines()[-1] == str(report)
    text = report.read_text()
    assert drawn(text) == FIGURES
    assert "above −0.2 points" in text


def test_places_merge_where_they_belong_together_and_stand_apart_otherwise(tmp_path: Path) -> None:
    here, there, other = (tmp_path / name for name in ("here", "there", "other"))
    write_comparison(here, seeds=[0, 1])
    write_comparison(there, seeds=[1, 2], threads=4)
    write_comparison(other, METHODS[1:], task="simclr-digits", seeds=[0])
    merged = divide_runs(find_runs([here, there]).runs)
    assert [sorted(run.seed for run in group.by_method["full"]) for group in merged[0].groups] == [[0, 1, 2]]
    text = page_of(here, there, other, out=tmp_path / "out")
    assert re.findall(r"<h1>(.*?)</h1>", text) == ["digits", "simclr-digits"]
    longer = tmp_path / "longer"
    write_comparison(longer, METHODS[1:], epochs=6)
    assert [s.heading for s in divide_runs(find_runs([here, longer]).runs)] == ["digits, epochs 4", "digits, epochs 6"]


def test_a_heading_says_what_the_help_says_of_a_setting_without_a_value() -> None:
    settings = [small_settings(train_size=size, recalibrate_bn=size is None) for size in (160, None)]
    sections = divide_runs([ReportedRun(read_record(result_of(one))) for one in settings])
    assert [section.heading for section in sections] == [
        "digits, train size 160, recalibrate bn false",
        "digits, train size all, recalibrate bn true",
    ]


def test_the_command_prints_where_the_report_is_and_counts_what_is_unfinished(comparison: Path, tmp_path: Path) -> None:
    shutil.copytree(comparison, tmp_path / "runs")
    next((tmp_path / "runs").rglob("result.json")).unlink()
    (tmp_path / "runs" / "results.json").unlink()
    code, stdout, _ = call("report", tmp_path / "runs")
    assert code == 0
    title, *answers, path = stdout.splitlines()
    assert title == "digits, keep 0.3"
    assert [line.split(":")[0] for line in answers if not line.startswith(" ")] == ["Save", "Lose", "Which"]
    assert path == str(tmp_path / "runs" / "report.html")
    assert "1 run is not finished and not in it" in (tmp_path / "runs" / "report.html").read_text()


def test_a_method_that_the_verdict_leaves_out_is_named_in_the_terminal(tmp_path: Path) -> None:
    write_comparison(tmp_path / "runs", METHODS[1:], seeds=range(5))
    write_comparison(tmp_path / "few", ["greedy"], seeds=[0])
    code, stdout, _ = call("report", tmp_path / "runs", tmp_path / "few", "--out", tmp_path / "out")
    assert code == 0
    caution = "greedy shares only one seed with random permutation, fewer than others. The verdict leaves it out."
    assert caution in " ".join(stdout.split())


def test_a_report_that_cannot_be_written_does_not_fail_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    console = Console(record=True, quiet=False, width=200)
    monkeypatch.setattr(page, "write_report", full_disk)
    monkeypatch.setattr(comparing, "progress", console)
    experiment = Experiment(task="digits", methods=["emp"], seeds=[0])
    comparing.report_comparison(Queue(experiment, [], []), out_dir=tmp_path, data_dir=None)
    assert "The report could not be written: [Errno 28] No space left on device" in console.export_text()


def test_a_worst_class_that_is_equal_on_every_seed_is_said_to_be_as_in_the_table(tmp_path: Path) -> None:
    settings = small_settings("emp")
    for seed, other in enumerate((50.0, 60.0)):
        write_run(tmp_path / f"run-{seed}", settings.replace(seed=seed), class_accuracy=[0.0, other])
    assert "<td>0.00 (all equal)</td>" in page_of(tmp_path, out=tmp_path)


def test_many_classes_are_cut_to_the_worst(tmp_path: Path) -> None:
    accuracies = [50.0 + (7 * label) % 50 for label in range(50)]
    folder = write_run(tmp_path / "run", small_settings("emp"), class_accuracy=[None, *accuracies[1:]])
    text = page_of(folder, out=tmp_path)
    assert "The 20 classes with the lowest accuracy." in text
    assert "class 43</td><td>51.00" in text


def test_a_hundred_runs_take_seconds(tmp_path: Path) -> None:
    template = write_run(tmp_path / "template", small_settings("emp"))
    runs = []
    for number in range(100):
        settings = small_settings(f"emp:beta={number % 10 + 4}", seed=number // 10)
        runs.append(ReportedRun(read_record(result_of(settings)), template))
    start = time.process_time()
    write_report(Found(runs), tmp_path)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(("more", "asked"), [({"keep": 0.5}, True), ({"keep": 0.3, "tail_epochs": 1}, False)])
def test_runs_at_several_keeps_are_asked_how_much_is_enough(more: dict[str, Any], asked: bool, tmp_path: Path) -> None:
    folders = [write_comparison(tmp_path / str(number), **cost) for number, cost in enumerate(({"keep": 0.3}, more))]
    text = page_of(*(tmp_path / str(number) for number in range(len(folders))), out=tmp_path)
    assert ("What each keep reaches, and is worth" in text) == ("<dt>Enough</dt>" in text) == asked
