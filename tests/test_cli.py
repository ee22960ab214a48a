"""The command as a stranger meets it."""

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from emprune_lab.analyses.questions import QUESTIONS
from emprune_lab.commands.app import app
from emprune_lab.commands.progress import LineReporter
from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.results import run_folder as store
from emprune_lab.tasks import TASKS
from emprune_lab.training import arrays
from typer.testing import CliRunner

import emprune
from emprune import cli
from tests.forks import be_command, forks, run_forked
from tests.lab.reports import write_comparison
from tests.lab.runs import checkpoint_of
from tests.lab.test_images import write_folder

SMALL = ["--epochs", "3", "--train-size", "80", "--batch-size", "16", "--precision", "fp32", "--device", "cpu"]


def call(*arguments: object) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_run_prints_a_summary_and_fills_its_folder(tmp_path: Path) -> None:
    code, stdout, stderr = call(
        "run", "digits", "--method", "emp:pool=2", *SMALL, "--validation", 0.2, "--out", tmp_path
    )
    assert code == 0, stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "log.jsonl", "result.json", "visits.npy", "samples.parquet", "checkpoints",
    }  # fmt: skip
    for part in ("digits, emp:pool=2, seed 0", "accuracy on test", "accuracy on validation", "visits", "planning"):
        assert part in stdout
    assert stderr.splitlines()[0].startswith("emp:pool=2 chooses nothing by its scores here.")
    assert stderr.splitlines()[1] == "3 epochs, 64 visits planned"
    assert stderr.splitlines()[2].startswith("epoch 1/3  kept ")


def test_a_run_without_a_folder_is_where_a_comparison_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    size = ("--epochs", 2, "--train-size", 100, "--batch-size", 20, "--keep", 0.5, "--device", "cpu")
    code, printed, _ = call("run", "digits", "--method", "emp", *size)
    assert code == 0
    (folder,) = [path.parent for path in (tmp_path / "runs" / "digits").rglob("result.json")]
    assert f"The run is in {folder.relative_to(tmp_path)}." in printed.replace("\n", "")
    assert "Full training takes 2.0 times the visits" in printed
    command = next(line for line in printed.splitlines() if line.startswith("Is it worth it? "))
    before = (folder / "result.json").stat().st_mtime_ns
    words = shlex.split(command.removeprefix("Is it worth it? emprune "))
    assert call(*words, "--seeds", 1, "--jobs", 1)[0] == 0
    assert (folder / "result.json").stat().st_mtime_ns == before
    assert len(list((tmp_path / "runs" / "digits").rglob("result.json"))) == 3


def test_nobody_is_told_what_full_training_takes_after_full_training(tmp_path: Path) -> None:
    size = ("--epochs", 1, "--train-size", 60, "--batch-size", 32, "--device", "cpu")  # batches are whole
    code, printed, _ = call("run", "simclr-digits", "--method", "full", *size, "--out", tmp_path / "run")
    assert code == 0
    assert "(53.3% of full)" in printed
    assert "Full training takes" not in printed


def test_a_finished_run_is_shown_again_and_only_replaced_when_asked(tmp_path: Path) -> None:
    command = ["run", "digits", "--method", "greedy", *SMALL, "--out", tmp_path]
    assert call(*command)[0] == 0
    written = (tmp_path / "result.json").stat().st_mtime_ns
    for more in ([], ["--resume"]):
        code, stdout, stderr = call(*command, *more)
        assert code == 0
        assert "holds this run, finished; --overwrite runs it again" in stderr
        assert "accuracy on test" in stdout
    assert call(*command, "--seed", "1")[0] == 2
    assert call(*command, "--seed", "1", "--resume")[0] == 2
    assert (tmp_path / "result.json").stat().st_mtime_ns == written
    (tmp_path / "config.json").write_text("damaged")
    assert call(*command, "--resume")[0] == 1
    assert call(*command, "--overwrite")[0] == 0
    assert (tmp_path / "result.json").stat().st_mtime_ns > written


@pytest.mark.parametrize("more", [[], ["--resume"], ["--overwrite"]])
def test_a_folder_of_something_else_stays_as_it_is(more: list[str], tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/epoch-1.pt", "log.jsonl", "visits.npy"):
        (tmp_path / name).write_text("mine")
    code, _, stderr = call("run", "digits", *SMALL, "--out", tmp_path, *more)
    assert code == 2
    assert f"{tmp_path} holds log.jsonl, visits.npy, checkpoints" in stderr
    assert "but no run of emprune" in stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"checkpoints", "epoch-1.pt", "log.jsonl", "visits.npy"}


@pytest.mark.parametrize("command", ["compare", "estimate"])
def test_what_is_no_run_is_refused_under_torchrun(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    for rank, said in ((0, True), (1, False)):
        monkeypatch.setenv("RANK", str(rank))
        code, _, stderr = call(command, "digits")
        assert code == 2
        assert ("call it without torchrun" in stderr) == said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            "run digit --out {out}",
            2,
            "Unknown task; got 'digit'. Did you mean 'digits'? There are: 20ng, cifar10, cifar100, clinc150, digits, "
            "fashion-mnist, glue:TASK, image-folder:PATH, imdb, language-model, mnist, movie-reviews, r52, "
            "simclr-cifar10, simclr-cifar100, simclr-digits, simclr-fashion-mnist, texts:PATH.",
        ),
        ("run digits --method gredy --out {out}", 2, "Did you mean 'greedy'?"),
        ("run digits --method emp:bta=3 --out {out}", 2, "Unknown option of `emp`; got 'bta'. Did you mean 'beta'?"),
        ("run digits --method emp:beta=nan --out {out}", 2, "`beta` must be a number"),
        ("run digits --method static-subset --out {out}", 2, "cannot be used from the command line"),
        ("run digits --keep 0 --out {out}", 2, "`keep` must be in (0, 1]"),
        ("run digits --keep 30 --out {out}", 2, "A pruning rate of 70 % is keep=0.3."),
        ("run digits --method full --keep 0.3 --out {out}", 2, "keep"),
        ("run digits --method infobatch:prune_ratio=0.5 --out {out}", 2, "Unknown option of `infobatch`"),
        ("run digits --keep 0.1 --epochs 40 --tail-fraction 0.25 --out {out}", 2, "write tail_epochs=1."),
        ("compare digits --epochs 40 --warmup-fraction 0.25 --out {out}", 2, "write warmup_epochs=3."),
        ("estimate digits --tail-fraction 0", 2, "write tail_epochs=0."),
        ("run digits --keep 0.1 --epochs 4 --tail-epochs 1 --out {out}", 2, "Use tail_epochs=0."),
        ("run digits --warmup-epochs 6 --tail-epochs 6 --epochs 9 --out {out}", 2, "epochs"),
        ("run digits --epochs 0 --out {out}", 2, "`epochs` must be an integer from 1 to 1,000,000; got epochs=0."),
        ("run digits --train-size 5000 --out {out}", 2, "`train_size` must be between 1 and 1347"),
        ("run digits --validation 0.0001 --out {out}", 2, "`validation` leaves one part empty"),
        ("run digits --model resnet --out {out}", 2, "Unknown model; got 'resnet'."),
        ("run digits --device tpu --out {out}", 2, "`device` must be one of auto, cpu, cuda; got device='tpu'."),
        ("run digits --seed -1 --out {out}", 2, "`seed` must be an integer in"),
        ("run digits --out {file}/x", 2, "`out` must be a folder"),
        ("run digits --out {file}", 2, "`out` must be a folder"),
        ("compare digits --methods full,nothing --out {out}", 2, "Unknown method"),
        ("compare digits --methods emp,emp --out {out}", 2, "listed twice"),
        ("compare digits --methods , --out {out}", 2, "needs a seed and a method"),
        ("compare digits --seeds 0 --out {out}", 2, "`seeds` must name at least one seed"),
        ("compare --out {out}", 2, "Name a TASK, or a file with --experiment."),
        (
            "compare digits --experiment {file} --keep 0.3",
            2,
            "says what is run, except for --seeds. Leave out TASK, --keep.",
        ),
        ("compare digits --margin 0 --out {out}", 2, "`margin` must be positive"),
        ("compare digits --from {out} --out {out}", 2, "is neither a folder of runs nor a readable results.json"),
        ("estimate digits --label-noise 1", 2, "`label_noise` must be in [0, 1)"),
        ("run digits --imbalance 1000 --out {out}", 2, "`imbalance` leaves a class without a sample"),
        ("run simclr-digits --method emp:memory=prediction-entropy --out {out}", 2, "`memory` must be a term for"),
        ("run digits --method emp:memory=view-alignment --out {out}", 2, "`memory` must be a term for classification"),
        ("run digits --schedule linear --out {out}", 2, "`schedule` must be one of one-cycle, cosine"),
        ("run digits --optimizer adam --out {out}", 2, "`optimizer` must be one of sgd, lars"),
        ("run digits --recipe published --out {out}", 2, "Unknown recipe of digits; got 'published'"),
        ("run digits --model timm:resnet18 --out {out}", 2, "needs timm, which is not installed"),
        ("run image-folder:{out} --out {out}", 2, "needs a folder of images"),
        ("run texts:{out} --out {out}", 2, "with a table or a folder of tables"),
        ("compare digits --jobs 0 --out {out}", 2, "`jobs` must be at least 1; got 0."),
        ("compare digits --jobs -3 --dry-run --out {out}", 2, "`jobs` must be at least 1; got -3."),
        ("analyze visits digits --jobs 0 --out {out}", 2, "`jobs` must be at least 1; got 0."),
        (
            "run digits --resume --overwrite --out {out}",
            2,
            "--resume goes on with a run and --overwrite throws it away",
        ),
        ("compare digits --baseline nobody --out {out}", 2, "Unknown method"),
        ("compare digits --keep 2 --methods emp --out {out}", 2, "`keep` must be in (0, 1]"),
        ("data digit", 2, "Did you mean 'digits'?"),
        ("run digits --keep nan --out {out}", 2, "`keep` must be in (0, 1]"),
        ("run digits --keep inf --out {out}", 2, "`keep` must be in (0, 1]"),
        ("compare digits --methods full --keep nan --dry-run --out {out}", 2, "`keep` must be in (0, 1]"),
        ("compare digits --methods full --keep -1 --dry-run --out {out}", 2, "`keep` must be in (0, 1]"),
        (
            "compare digits --methods full --tail-epochs -1 --dry-run --out {out}",
            2,
            "`tail_epochs` must be an integer from 0 to `epochs`; got tail_epochs=-1.",
        ),
        (
            "compare digits --methods full --warmup-epochs 9999999 --out {out}",
            2,
            "`warmup_epochs` must be an integer from 0 to `epochs`; got warmup_epochs=9999999.",
        ),
        ("run digits --method infobatch:normalize=no --out {out}", 2, "`infobatch:normalize` must be true or false"),
        ("run digits --method emp:pool=inf --out {out}", 2, "`pool` must be"),
        ("run digits --method emp:beta=1e39 --out {out}", 2, "`beta` must be"),
        ("compare digits --methods emp:beta=1e39 --dry-run --out {out}", 2, "`beta` must be"),
        ("estimate digits --keep nan", 2, "`keep` must be in (0, 1]"),
        ("analyze visits digits --keep nan --out {out}", 2, "`keep` must be in (0, 1]"),
        (
            "run digits --batch-size 1000000000000 --out {out}",
            2,
            "`batch_size` must be an integer from 1 to 1,000,000; got",
        ),
        (
            "run digits --epochs 999999999999 --out {out}",
            2,
            "`epochs` must be an integer from 1 to 1,000,000; got epochs=999999999999.",
        ),
        (
            "run digits --threads 100000 --out {out}",
            2,
            "`threads` must be an integer from 1 to 1,024; got threads=100000.",
        ),
        (
            "estimate digits --epochs 999999999999",
            2,
            "`epochs` must be an integer from 1 to 1,000,000; got epochs=999999999999.",
        ),
        ("compare digits --seeds 999999999999 --dry-run --out {out}", 2, "`seeds` must name at most 10,000"),
        ("compare digits --seeds 5-999999999999 --dry-run --out {out}", 2, "`seeds` must name at most 10,000"),
        (f"compare digits --seeds {'9' * 5000} --dry-run --out {{out}}", 2, "`seeds` must be below 2^63"),
        ("analyze visits digits --runs 999999999999 --out {out}", 2, "`runs` must be at most 10,000"),
        ("compare digits --seeds= --dry-run --out {out}", 2, "`seeds` must be a number of seeds"),
        ("compare digits --methods= --dry-run --out {out}", 2, "needs a seed and a method"),
        ("compare digits --baseline= --dry-run --out {out}", 2, "Unknown method"),
        ("run digits --method= --out {out}", 2, "Unknown method"),
        ("run digits --model= --out {out}", 2, "Unknown model; got ''."),
        ("run image-folder: --out {out}", 2, "A path must not be empty"),
        ("run image-folder:{file}:size=999999999 --out {out}", 2, "`size` of an image folder must be"),
    ],
)
def test_wrong_usage_is_a_message_and_an_exit_code(arguments: str, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text('task = "digits"\nmethods = ["full"]\n')
    filled = arguments.format(out=tmp_path / "out", file=tmp_path / "file").split()
    got, stdout, stderr = call(*filled)
    assert (got, stdout) == (code, ""), stderr
    assert stderr.startswith("emprune: ")
    assert message in stderr
    assert "Traceback" not in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "run digits --out=",
        "run digits --out {out} --data-dir=",
        "compare digits --out=",
        "compare digits --out {out} --from=",
        "compare --experiment=",
        "estimate digits --data-dir=",
        "analyze visits digits --out=",
        "report {out} --out=",
        "data digits --data-dir=",
    ],
)
def test_an_empty_path_is_wrong_usage(arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(*arguments.format(out=tmp_path / "out").split())
    assert (code, stdout) == (2, "")
    assert "A path must not be empty; got ''" in stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "run digits --out=~/x",
        "compare digits --methods random --seeds 1 --out=~/x",
        "compare --experiment=~/file.toml --out=~/x",
        "analyze visits digits --runs 1 --keep 0.3 --out=~/x",
        "report ~/runs --out=~/x",
        "estimate image-folder:~/images:size=8",
    ],
)
def test_a_tilde_is_the_home_folder(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    write_comparison(home / "runs")
    (home / "file.toml").write_text('task = "digits"\nmethods = ["random"]\nseeds = 1\n[settings]\ntrain_size = 60\n')
    write_folder(home / "images", {"cat": 60, "dog": 60})
    more = [] if "report" in command or "--experiment" in command else SMALL
    code, _, stderr = call(*command.split(), *more, "--data-dir=~/data", *["--dry-run"] * ("compare" in command))
    assert code == 0, stderr
    assert not list(here.iterdir())


def test_a_run_that_keeps_less_than_a_batch_warns(tmp_path: Path) -> None:
    settings = ["digits", "--keep", "0.005", "--epochs", "3", "--batch-size", "16", "--device", "cpu"]
    warning = "keep=0.005 leaves 6.67 samples an epoch, less than a batch of 16, and 20 visits in all."
    assert warning in call("run", *settings, "--method", "random", "--out", tmp_path / "run")[2]
    shown = call("compare", *settings, "--methods", "full,random", "--seeds", 1, "--dry-run", "--out", tmp_path / "c")
    assert shown[2].count(warning) == 1


def test_a_missing_argument_is_wrong_usage() -> None:
    code, _, stderr = call("run")
    assert code == 2
    assert "TASK" in stderr


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(checkpoint: Path, state: object) -> None:
        raise OSError(28, "No space left on device", str(checkpoint / "state.pt"))

    monkeypatch.setattr(arrays, "save_state", full)
    code, _, stderr = call("run", "digits", *SMALL, "--out", tmp_path)
    assert code == 1
    place = tmp_path / "checkpoints" / "checkpoint-2"
    assert f"emprune: Cannot read or write {place}: No space left on device. What was finished is kept.\n" in stderr


def test_data_that_cannot_be_had_is_a_failure_that_names_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(folder: Path, data_dir: Path) -> None:
        raise SourceError("no network")

    data = DataSet(name="fashion-mnist", sha256={"file": "0"}, sources=(Source("somewhere", absent),))
    monkeypatch.setitem(TASKS, "fashion-mnist", dataclasses.replace(TASKS["fashion-mnist"], data=data))
    for command in (["data", "fashion-mnist"], ["run", "fashion-mnist", "--out", tmp_path / "out"]):
        code, _, stderr = call(*command, "--data-dir", tmp_path)
        assert code == 1
        assert "fashion-mnist could not be fetched. Tried somewhere: no network" in stderr
    assert not (tmp_path / "out").exists()


def test_data_lists_all_it_can_fetch_where_a_name_is_unknown() -> None:
    code, _, stderr = call("data", "nope")
    assert code == 2
    assert "minilm, mnist" in stderr


def test_data_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSet(name="fashion-mnist", sha256={}, sources=(Source("here", lambda folder, data_dir: None),))
    monkeypatch.setitem(TASKS, "fashion-mnist", dataclasses.replace(TASKS["fashion-mnist"], data=data))
    assert call("data", "fashion-mnist", "--data-dir", tmp_path)[1] == (
        f"fashion-mnist is in {tmp_path / 'fashion-mnist'}, verified.\n"
    )
    assert call("data", "digits")[1] == "digits comes with its package; there is nothing to fetch.\n"
    for label in ("a", "b"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        (tmp_path / "mine" / label / "1.png").write_bytes(b"")
    name = f"image-folder:{tmp_path / 'mine'}"
    assert call("data", name)[1] == f"{name} is your own; there is nothing to fetch.\n"


def test_an_estimate_says_what_is_saved() -> None:
    code, stdout, _ = call("estimate", "digits", "--method", "emp", *SMALL)
    assert code == 0
    assert re.search(r"visits +80 +240", stdout)
    assert re.search(r"time +[\d.]+ s", stdout)
    assert re.search(r"saved +\d+%", stdout)
    assert "points above full training, at the nearest cost" in " ".join(stdout.split())
    assert (
        "emprune compare digits --methods full,random-permutation,emp:pool=2 --seeds 3 --keep 0.3 --epochs 3" in stdout
    )


def test_a_comparison_that_goes_on_in_another_precision_says_so(tmp_path: Path) -> None:
    command = ["compare", "digits", "--methods", "random", *SMALL, "--precision", "auto", "--out", tmp_path]
    assert "Of the runs" not in call(*command, "--seeds", 1)[2]
    (place,) = tmp_path.rglob("result.json")
    result = json.loads(place.read_text())
    here = result["machine"]["precision"]
    result["machine"]["precision"] = {"fp32": "bf16", "bf16": "fp32"}[here]
    place.write_text(json.dumps(result))
    code, _, stderr = call(*command, "--seeds", 3, "--dry-run")
    assert code == 0, stderr
    assert f"{2 if here == 'bf16' else 1} in bf16 and {2 if here == 'fp32' else 1} in fp32" in stderr


def test_methods_and_tasks_explain_all_there_is() -> None:
    shown = call("methods")[1]
    assert all(name in shown for name in emprune.methods.method_names())
    assert "beta=3.0" in shown
    assert "only from code" in shown
    assert "fashion-mnist" in call("tasks")[1]


def test_help_teaches_and_version_is_said() -> None:
    assert "emprune run digits --method emp --keep 0.3" in call("--help")[1]
    for command in ("run", "compare"):
        assert "Example" in call(command, "--help")[1]
    assert call("--version")[1] == f"emprune {emprune.__version__}\n"


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("typer", "the package typer. Install it: pip install 'emprune[lab]'"),
        ("PIL", "the package pillow. Install it: pip install 'emprune[lab]'"),
        ("pytorch_optimizer", "the package pytorch_optimizer. Install it: pip install 'emprune[lab]'"),
        ("transformers", "the package transformers. Install it: pip install 'emprune[lab,transformers]'"),
        ("of_somebody_else.part", "the package of_somebody_else. Install it: pip install of_somebody_else"),
        (
            "emprune_lab",
            "the package emprune-lab. Install it: pip install ./lab in a clone, else pip install 'emprune[lab]'",
        ),
    ],
)
def test_a_missing_package_is_a_sentence(module: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def app(prog_name: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("emprune_lab.commands.app.app", app)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == f"emprune: the command needs {advice}"


@pytest.mark.parametrize(("module", "command"), [("filelock", "run digits --out"), ("jinja2", "report")])
def test_a_package_that_is_imported_late_and_missing_is_a_sentence(module: str, command: str, tmp_path: Path) -> None:
    where = tmp_path / "runs"
    if command == "report":
        write_comparison(where)
    code = f"import sys; sys.modules[{module!r}] = None; from emprune import cli; cli.main()"
    done = run_forked(code, *command.split(), str(where))  # in a process of its own: here it is imported by now
    assert done.returncode == 1
    assert f"emprune: the command needs the package {module}." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_module_of_our_own_is_a_bug_and_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "emprune_lab.commands.app", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_no_help_imports_what_takes_seconds() -> None:
    commands = [[], ["run"], ["compare"], ["estimate"], ["analyze"], ["report"], ["data"], ["methods"], ["tasks"]]
    commands += [["analyze", name] for name in QUESTIONS]
    code = f"""
import sys
from typer.testing import CliRunner
from emprune_lab.commands.app import app
for command in {commands!r}:
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0 and "Usage" in shown.stdout, (command, shown.stderr)
assert CliRunner().invoke(app, ["--version"]).exit_code == 0
print(sorted({{"torch", "transformers", "plotly", "sklearn", "scipy", "numpy", "pyarrow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_that_says_how_to_go_on(
    number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "digits", *SMALL, "--out", str(tmp_path)]
    monkeypatch.setattr(LineReporter, "epoch", lambda self, record: os.kill(os.getpid(), number))
    got, stdout, stderr = call(*command)
    assert (got, stdout) == (code, "")
    advice = "nothing is lost. To go on, give the same command with --resume."
    assert stderr.splitlines()[-1] == f"emprune: Stopped in epoch 2 of 3; {advice}"
    monkeypatch.undo()
    assert_resumable(command, tmp_path)


def test_a_run_has_its_folder_to_itself_and_a_killed_one_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.1)
    command = ["run", "digits", *SMALL, "--epochs", "1000", "--out", str(tmp_path)]
    process = forks.Process(target=be_command, args=(command,), daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("checkpoints/checkpoint-*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for more in ([], ["--resume"], ["--overwrite"]):
            code, _, stderr = call(*command, *more)
            assert code == 1
            assert f"{tmp_path} is in use: another process trains in it" in stderr
        assert process.is_alive()
    finally:
        process.kill()
        process.join()
    state = checkpoint_of(tmp_path)
    lines = (tmp_path / "log.jsonl").read_bytes()[: state["tally"]["log_bytes"]].splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(state["tally"]["epoch"]))
    assert "unfinished run" in call(*command)[2]


def assert_resumable(command: list[str], out: Path) -> None:
    """The command is refused without --resume, and finishes with it, as if it had never been stopped."""
    code, _, stderr = call(*command)
    assert code == 2
    assert "unfinished run. Go on with --resume" in stderr
    code, _, stderr = call(*command, "--resume")
    assert code == 0
    assert next(line for line in stderr.splitlines() if line.startswith("epoch")).startswith("epoch 2/3")
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").read_text().splitlines()] == [0, 1, 2]
