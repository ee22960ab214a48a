import importlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence, Set
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.commands.compare import what_is_left
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.pool import PRELOADED, check_finished, compare
from emprune_lab.comparison.queue import Comparison, Queue, adopt, folder_of, look_elsewhere, make_queue
from emprune_lab.errors import RunError, RunExistsError, StoppedError
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.tasks import get_task
from PIL import Image

from emprune.errors import ConfigError
from tests.lab.reports import call, old_result_of, result_of, write_comparison, write_run
from tests.lab.runs import checkpoint_of, run_small, small_settings
from tests.messages import Raises

METHODS = ["full", "random-permutation", "emp:pool=2"]
SMALL = {"epochs": 3, "train_size": 80, "batch_size": 16, "device": "cpu", "precision": "fp32"}


def small(methods: Sequence[str] = METHODS, seeds: Sequence[int] = (0, 1), **settings: Any) -> Experiment:
    baseline = settings.pop("baseline", "random-permutation")
    values = {"keep": 0.5, **SMALL, **settings}
    return Experiment(task="digits", methods=methods, seeds=seeds, baseline=baseline, settings=values)


def run_all(experiment: Experiment, out: Path, **options: Any) -> Comparison:
    return written(compare(make_queue(experiment, out), num_jobs=1, **options), out)


def written(comparison: Comparison, out: Path) -> Comparison:
    comparison.write(out)
    return comparison


def test_a_stopped_comparison_goes_on_where_it_was_and_repeats_nothing(tmp_path: Path) -> None:
    experiment = small()
    runs = experiment.variants[0].runs
    seen: list[int] = []
    with pytest.raises(StoppedError):
        run_all(
            experiment, tmp_path,
            watch=lambda finished, visits: seen.append(len(finished)), stop=lambda: bool(seen) and seen[-1] >= 1,
        )  # fmt: skip
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert 1 <= len(written) < len(runs)
    assert not (tmp_path / "results.json").exists()

    (variant,) = run_all(experiment, tmp_path).variants
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    assert len(list(tmp_path.rglob("result.json"))) == len(runs)
    document = json.loads((tmp_path / "results.json").read_text())
    assert [run["settings"] for run in document["runs"]] == [settings.model_dump() for settings in runs]
    assert [row.method for row in variant.rows] == METHODS
    assert "| emp:pool=2 |" in (tmp_path / "table.md").read_text()
    assert_same_as_alone(runs[-1], tmp_path / "alone", variant.results[-1])
    steps = {r.method: (r["optimizer_steps"], r["final_learning_rate"]) for r in variant.results}
    assert steps["random-permutation"] == steps["emp:pool=2"]

    (again,) = run_all(small(baseline="full"), tmp_path).variants  # all there: no process is started
    assert again.results == variant.results
    assert again.rows[0].difference is None


def run_here(experiment: Experiment, out: Path) -> Comparison:
    """Run in this process: a new one costs seconds."""
    queue = make_queue(experiment, out)
    for job in queue.missing:
        run_small(job.run.settings, job.folder)
    return written(compare(queue, num_jobs=1), out)


def test_varied_settings_make_a_table_each_and_share_their_runs(tmp_path: Path) -> None:
    experiment = small(["full", "random-permutation"], seeds=[0], keep=[0.5, 0.4])
    queue = make_queue(experiment, tmp_path)
    assert [job.run.settings.method.name for job in queue.jobs] == ["full", *["random-permutation"] * 2]
    result = run_here(experiment, tmp_path)
    assert [variant.title for variant in result.variants] == ["keep 0.5", "keep 0.4"]
    assert result.variants[0].results[0] is result.variants[1].results[0]
    assert len(json.loads((tmp_path / "results.json").read_text())["runs"]) == 3
    assert (tmp_path / "table.md").read_text().count("### keep 0.") == 2


def take(queue: Queue, *sources: Path) -> int:
    """Take over what there is, and return how much that was."""
    found = look_elsewhere(queue, sources)
    assert len(found.missing) == len(queue.missing) - len(found.elsewhere)
    adopt(found)
    return len(found.elsewhere)


def test_results_of_several_machines_merge(tmp_path: Path) -> None:
    here, there, third = tmp_path / "here", tmp_path / "there", tmp_path / "third"
    whole = small(["random"], seeds=[0, 1], baseline="random")
    run_here(small(["random"], seeds=[0], baseline="random"), here)
    other = run_here(small(["random"], seeds=[1], baseline="random"), there)
    queue = make_queue(whole, here)
    assert take(queue, there / "results.json") == 1
    assert queue.missing == []
    assert take(queue, there) == 0  # nothing is taken twice
    result = written(compare(queue, num_jobs=1), here)
    assert [r.seed for r in result.variants[0].results] == [0, 1]
    assert result.variants[0].results[1]["accuracy"] == other.variants[0].results[0]["accuracy"]
    assert take(make_queue(whole, third), here) == 2  # a folder of runs does as well
    assert take(make_queue(small(["random"], [0], max_lr=0.1), tmp_path / "other"), here) == 0
    document = json.loads((here / "results.json").read_text())
    (run, *_) = document["runs"]
    for strange in ({"method": {"name": "gone", "options": {}}}, {"unheard": 1}):
        document["runs"].insert(0, {**run, "settings": {**run["settings"], **strange}})
    (tmp_path / "mixed.json").write_text(json.dumps(document))
    assert take(make_queue(whole, tmp_path / "fourth"), tmp_path / "mixed.json") == 2  # the others are passed over


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: runs[1].pop("accuracy"), "Of run 2: There is no `accuracy`."),
        (lambda runs: runs[0].update(accuracy="high"), "Of run 1: `accuracy` must be a number; got 'high'."),
        (lambda runs: runs[0].update(machine={}), "Of run 1: There is no `machine.device_name`."),
        (lambda runs: runs[0]["settings"].update(method=5), "Of run 1: `method` must be .*; got method=5."),
        (lambda runs: runs[0].pop("settings"), "Of run 1: `settings` must be a table; got None."),
        (lambda runs: runs[0]["settings"]["cost"].pop("keep"), "Of run 1: The settings lack `keep`"),
        (lambda runs: runs.append(5), "Of run 10: A result must be a table; got 5."),
    ],
)
def test_what_is_no_result_is_not_taken_over(
    change: Callable[[Any], object], message: str, comparison: Path, tmp_path: Path
) -> None:
    document = json.loads((comparison / "results.json").read_text())
    change(document["runs"])
    (tmp_path / "odd.json").write_text(json.dumps(document))
    queue = make_queue(small(), tmp_path / "here")
    with pytest.raises(ConfigError, match=f"odd.json holds something else than results of emprune: .*{message}"):
        look_elsewhere(queue, [tmp_path / "odd.json"])


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"runs": 5}', "`runs` must be a list; got 5"), ('{"score": 1}', "There is no `accuracy`"),
     ("none", "is neither a folder of runs nor a readable results.json")],
)  # fmt: skip
def test_a_file_of_something_else_is_not_taken_over(content: str, message: str, tmp_path: Path) -> None:
    for path in (tmp_path / "results.json", tmp_path / "foreign" / "result.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        source = path if path.name == "results.json" else path.parent
        with pytest.raises(ConfigError, match=f"{path} .*{message}"):
            look_elsewhere(make_queue(small(), tmp_path / "here"), [source])


def test_runs_whose_folders_an_earlier_version_named_are_taken_over_in_words(comparison: Path, tmp_path: Path) -> None:
    shutil.copytree(comparison, tmp_path, dirs_exist_ok=True)
    for folder in (tmp_path / "digits").iterdir():
        folder.rename(folder.with_name(f"{folder.name[:-8]}0badf00d"))
    begun = next((tmp_path / "digits").glob("random-permutation-*/seed-2"))
    result = (begun / "result.json").read_bytes()
    (begun / "result.json").unlink()
    (tmp_path / "results.json").unlink()
    code, stdout, stderr = compare_there("random-permutation,emp:pool=2", 3, tmp_path, "--dry-run")
    assert code == 0
    assert "5 finished runs to take over." in stderr
    assert f"{begun} holds random-permutation, seed 2, unfinished, of an earlier version. It is made anew in" in stderr
    assert "1 run left" in stdout
    shutil.copy(comparison / "results.json", tmp_path)
    (begun / "result.json").write_bytes(result)
    assert "6 finished runs taken over." in compare_there("random-permutation,emp:pool=2", 3, tmp_path)[2]
    assert "taken over" not in compare_there("random-permutation,emp:pool=2", 3, tmp_path)[2]


@pytest.mark.parametrize("name", ["taken", "taken/below"])
@pytest.mark.parametrize("command", ["run", "compare", "report"])
def test_a_file_in_place_of_a_folder_is_refused_before_anything_runs(
    command: str, name: str, comparison: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    what = comparison if command == "report" else "digits"
    code, _, stderr = call(command, what, "--out", tmp_path / name)
    assert code == 2
    assert f"{tmp_path / 'taken'} is a file. Choose another --out." in stderr
    assert (tmp_path / "taken").read_text() == "mine"


def test_settings_nested_too_deeply_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="config.json cannot be read"):
        RunFolder(tmp_path).settings()


def test_failures_are_few_and_their_number_is_said() -> None:
    failures = {f"emp, seed {seed}: It diverged." for seed in range(7)}
    with pytest.raises(RunError, match=r"^7 of 7 runs did not finish\. emp, seed 0: It diverged; .*; and 2 more\.$"):
        check_finished(7, 0, failures, stopped=False)


def test_who_stops_a_comparison_is_told_what_failed_before() -> None:
    with pytest.raises(StoppedError, match=r"^Stopped; nothing is lost\. Failed before: emp, seed 0: It diverged\.$"):
        check_finished(7, 1, {"emp, seed 0: It diverged."}, stopped=True)


def compare_there(methods: str, seeds: int, out: Path, *more: object) -> tuple[int, str, str]:
    """Compare as the fixture `comparison` does."""
    settings = ["--epochs", 4, "--train-size", 160, "--batch-size", 16, "--device", "cpu", "--precision", "fp32"]
    return call("compare", "digits", "--methods", methods, "--seeds", seeds, *settings, "--out", out, *more)


def test_results_that_are_nowhere_else_are_not_replaced(comparison: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    shutil.copy(comparison / "results.json", file)
    before = file.read_bytes()
    for more in ([], ["--dry-run"]):
        code, _, stderr = compare_there("random-permutation", 3, tmp_path, *more)
        assert code == 2
        assert f"{file} would be replaced. It holds 9 runs that {tmp_path} has no folder of." in stderr
        assert f"Choose another --out, or move it away. `--from {file}` takes such runs over." in stderr
    assert "holds 6 runs" in compare_there("random-permutation", 3, tmp_path, "--from", file)[2]
    assert "holds 9 runs" in call("compare", "digits", "--out", tmp_path)[2]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert file.read_bytes() == before


def test_a_comparison_of_another_task_is_not_replaced_and_named(tmp_path: Path, raises: Raises) -> None:
    """All its runs have their folders; they are not lost, but of another task."""
    write_comparison(tmp_path)
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text().replace('"digits"', '"fashion-mnist"'))
    (tmp_path / "digits").rename(tmp_path / "fashion-mnist")
    code, _, stderr = compare_there("random-permutation", 1, tmp_path)
    assert code == 2
    raises.message(stderr, parameter="out", value="fashion-mnist")


def test_a_comparison_of_a_path_that_is_spelled_otherwise_is_refused_in_these_words(
    tmp_path: Path, raises: Raises
) -> None:
    for number in range(24):
        file = tmp_path / "pets" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    settings = small_settings(task=f"image-folder:{tmp_path / 'pets'}", train_size=None)
    results = {"format": 3, "experiment": {}, "runs": [result_of(settings)]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    other = f"image-folder:{tmp_path / 'pets' / '..' / 'pets'}"
    options = ["--batch-size", 2, "--device", "cpu", "--data-dir", tmp_path / "cache", "--dry-run"]
    code, _, stderr = call("compare", other, "--methods", "random", *options, "--out", tmp_path)
    assert code == 2
    raises.message(stderr, parameter="out")


@pytest.mark.parametrize(
    ("name", "advice"),
    [("results.json", "Choose another --out"), ("table.md", "Write elsewhere"), ("report.html", "Write elsewhere")],
)
def test_what_is_none_of_a_comparison_is_not_replaced(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    code, _, stderr = compare_there("random-permutation", 3, tmp_path)
    assert code == 2
    assert f"{tmp_path / name} would be replaced, and is none of emprune's. {advice}, or move it away." in stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_results_of_another_version_are_not_replaced_and_named_so(tmp_path: Path) -> None:
    write_comparison(tmp_path, ["random-permutation"])
    document = json.loads((tmp_path / "results.json").read_text())
    document["runs"][0]["settings"]["training"]["future"] = 1
    (tmp_path / "results.json").write_text(json.dumps(document))
    code, _, stderr = compare_there("random-permutation", 3, tmp_path)
    assert code == 2
    assert "would be replaced, and holds runs of another version. Choose another --out" in stderr.replace("\n", " ")
    code, _, stderr = call("report", tmp_path / "results.json")
    assert code == 2
    assert "holds runs of another version of emprune. Of run 1: The settings hold `future`" in stderr.replace("\n", " ")


def test_results_of_runs_that_have_their_folders_or_are_taken_over_are_replaced(tmp_path: Path) -> None:
    """All are finished: nothing is trained."""
    write_comparison(tmp_path)
    assert compare_there("random-permutation", 2, tmp_path)[0] == 0
    assert len(json.loads((tmp_path / "results.json").read_text())["runs"]) == 2
    shutil.rmtree(tmp_path / "digits")
    assert compare_there("random-permutation", 2, tmp_path, "--from", tmp_path / "results.json")[0] == 0
    assert len(list(tmp_path.rglob("result.json"))) == 2


def test_results_from_before_emp_had_a_pool_are_taken_over_as_what_they_are(tmp_path: Path) -> None:
    settings = small_settings("emp:pool=none")
    folder = write_run(tmp_path / "old" / "emp-0", settings)
    result = old_result_of(settings)
    result["config"]["method"] = "emp"
    (folder / "config.json").write_text(json.dumps(result["config"]))
    (folder / "result.json").write_text(json.dumps(result))
    assert RunFolder(folder).result().method == "emp:pool=none"
    taken = compare_there(
        "random-permutation,emp:pool=none", 1, tmp_path / "here", "--from", tmp_path / "old", "--dry-run"
    )
    assert "1 finished runs to take over." in taken[2]
    others = compare_there("random-permutation,emp", 1, tmp_path / "here", "--from", tmp_path / "old", "--dry-run")
    assert "0 finished runs to take over." in others[2]


def test_a_dry_run_counts_what_it_would_take_over_and_writes_nothing(comparison: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    code, stdout, stderr = compare_there("random-permutation,emp:pool=none", 4, here, "--from", comparison, "--dry-run")
    assert code == 0, stderr
    assert "3 finished runs to take over." in stderr
    assert "5 runs left" in stdout
    assert not here.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict.clear, "There is no `accuracy`"),
        (lambda result: result.pop("machine"), "There is no `machine`"),
        (lambda result: result.update(accuracy=None), "`accuracy` must be a number; got None"),
        (lambda result: result.update(accuracy="96.4"), "`accuracy` must be a number; got '96.4'"),
    ],
)
def test_a_damaged_result_is_named_before_anything_is_trained(
    change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    settings = small_settings("random-permutation")
    folder = write_run(tmp_path / "digits" / settings.folder_name / "seed-0", settings)
    result = json.loads((folder / "result.json").read_text())
    change(result)
    (folder / "result.json").write_text(json.dumps(result))
    code, _, stderr = compare_there("random-permutation", 2, tmp_path)
    assert code == 1
    assert f"{folder / 'result.json'} is damaged: {message}. Delete its folder, and the run is made again." in stderr
    assert not (folder.parent / "seed-1").exists()


def assert_same_as_alone(settings: Settings, path: Path, record: RunRecord) -> None:
    run_small(settings, path)
    alone, result = json.loads((path / "result.json").read_text()), record.document()
    for name in ("accuracy", "loss", "visits", "settings"):
        assert result[name] == alone[name]


def workers_since(before: list[BaseProcess]) -> list[BaseProcess]:
    """The children that were not there before: other tests keep theirs."""
    return [child for child in multiprocessing.active_children() if child not in before]


@pytest.mark.parametrize("module", PRELOADED)
def test_what_processes_are_to_have_imported_is_there(module: str) -> None:
    """A module that is not is passed over, and each process would import it by itself."""
    importlib.import_module(module)


def test_a_dead_worker_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    before = multiprocessing.active_children()

    def kill_one(finished: Set[int], visits: Sequence[int]) -> None:
        for worker in workers_since(before)[:1]:
            worker.kill()

    with pytest.raises(RunError, match=r"6 of 6 runs did not finish\. A worker process died .*the same command again"):
        run_all(small(), tmp_path, watch=kill_one)


def test_a_run_that_fails_in_its_own_way_is_named_and_the_others_finish(tmp_path: Path) -> None:
    """A last batch of one, whose 1x1 map a batch norm cannot normalise."""
    experiment = small(
        ["full", "random-permutation"], [0], epochs=1, train_size=65, batch_size=64, model="small-resnet"
    )
    queue = make_queue(experiment, tmp_path)
    with pytest.raises(RunError, match=r"1 of 2 runs did not finish\. full, seed 0: ValueError: Expected more than 1"):
        compare(queue, num_jobs=1)
    assert [(job.folder / "result.json").exists() for job in queue.jobs] == [False, True]


def test_a_worker_that_is_asked_to_stop_leaves_a_checkpoint(tmp_path: Path) -> None:
    experiment = small(["random-permutation"], [0], epochs=5000, keep=1)
    queue, before = make_queue(experiment, tmp_path), multiprocessing.active_children()
    asked: list[int] = []

    def ask(finished: Set[int], visits: Sequence[int]) -> None:
        if visits[0] > 3 * 80 and not asked:
            (worker,) = workers_since(before)
            worker.terminate()
            asked.append(visits[0])

    with pytest.raises(StoppedError):
        compare(queue, num_jobs=1, watch=ask)
    assert asked
    assert 16 * checkpoint_of(queue.jobs[0].folder)["tally"]["steps"] >= asked[0]
    done = queue.jobs[0].visits_done
    assert done >= asked[0] // 80 * 80 > 0  # in whole epochs
    ((_, _, _, _, left),) = what_is_left(make_queue(experiment, tmp_path))
    assert left == 80 * 5000 - done


def test_nothing_is_started_when_one_run_is_impossible(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Use tail_epochs=1"):
        run_all(small(tail_epochs=[0, 3]), tmp_path)
    assert not list(tmp_path.rglob("*.json*"))


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    experiment = small(["random"], [0])
    (job,) = make_queue(experiment, tmp_path).jobs
    job.folder.mkdir(parents=True)
    (job.folder / "config.json").write_text(json.dumps(job.run.settings.replace(epochs=9).model_dump()))
    with pytest.raises(RunExistsError, match="epochs: 9 and 3. Use the same settings, delete that folder to run it"):
        make_queue(experiment, tmp_path)


def test_a_comparison_that_takes_the_place_of_another_says_so(tmp_path: Path) -> None:
    """All are finished: nothing is trained."""
    for method in ("full", "random-permutation", "emp"):
        settings = small_settings(method, keep=1.0 if method == "full" else 0.5)
        write_run(folder_of(tmp_path, get_task("digits"), settings), settings)
    options = ["--epochs", 4, "--keep", 0.5, "--train-size", "160", "--batch-size", 16, "--device", "cpu"]
    command = ["compare", "digits", *options, "--precision", "fp32", "--seeds", 1, "--out", tmp_path, "--methods"]
    code, _, stderr = call(*command, "random-permutation,emp")
    assert (code, "another comparison" in stderr) == (0, False)
    code, _, stderr = call(*command, "full,random-permutation,emp")
    assert (code, "another comparison" in stderr) == (0, False)
    code, _, stderr = call(*command, "full,emp", "--baseline", "emp")
    assert code == 0
    assert f"The table and the report in {tmp_path} are of another comparison, with 1 other run." in stderr


def test_numbers_that_are_listed_are_varied_and_their_cost_that_loses_nothing_is_said(tmp_path: Path) -> None:
    """All are finished: nothing is trained."""
    methods = ("full", "random-permutation", "emp")
    for method in methods:
        for keep in (1.0,) if method == "full" else (0.1, 0.3):
            settings = small_settings(method, keep=keep)
            write_run(folder_of(tmp_path, get_task("digits"), settings), settings)
    options = ["--epochs", 4, "--train-size", "160", "--batch-size", 16, "--device", "cpu", "--precision", "fp32"]
    command = ["compare", "digits", *options, "--methods", ",".join(methods), "--seeds", 1, "--out", tmp_path]
    code, said, stderr = call(*command, "--keep", "0.1,0.3")
    assert code == 0, stderr
    assert said.count("Which:") == 2
    assert said.count("Enough:") == 1
    assert "emp:pool=2 at keep 0.1, 0.3 reaches what random-permutation does at > 1" not in said
    code, said, _ = call(*command, "--keep", "0.3")
    assert code == 0
    assert "Enough:" not in said


NOT_NUMBERS = [
    (("compare", "digits", "--keep"), "0.1,", "must be a number, or several separated by commas."),
    (("compare", "digits", "--keep"), "0.1,much", "must be a number, or several separated by commas."),
    (("compare", "digits", "--keep"), "0.1;0.3", "must be a number, or several separated by commas."),
    (("compare", "digits", "--epochs"), "2,2.5", "must be a whole number, or several separated by commas."),
    (("run", "digits", "--keep"), "much", "must be a number."),
    (("run", "digits", "--keep"), "30%", "must be a number. 30% is 0.3."),
    (("run", "digits", "--epochs"), "2.5", "must be a whole number."),
    (("run", "digits", "--keep"), "0.1,0.3", "must be a number. `compare` takes several, separated by commas."),
    (("analyze", "visits", "digits", "--keep"), "0.1,0.3", "must be a number. `compare` takes several,"),
]


@pytest.mark.parametrize(("command", "given", "rule"), NOT_NUMBERS)
def test_what_is_no_number_is_refused_with_what_the_option_takes(
    command: Sequence[str], given: str, rule: str, tmp_path: Path
) -> None:
    code, _, stderr = call(*command, given, "--out", tmp_path)
    said = " ".join(stderr.replace("│", " ").split())
    assert code == 2
    assert f"Invalid value for '{command[-1]}': {given!r} {rule}" in said
