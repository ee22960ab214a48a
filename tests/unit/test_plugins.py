"""Methods of other packages: a small one is built and installed, and the library and the command find its methods."""

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

from tests.forks import Ended, run_forked

AGEING = """
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from emprune.methods import Method, SampleStats, Selection, SelectionContext
from emprune.selection import top_k


@dataclass(frozen=True)
class Ageing(Method):
    \"\"\"Keep the highest loss + rate · age.\"\"\"

    rate: float = 0.1
    name: ClassVar[str] = "ageing"

    def score(self, stats: SampleStats) -> Tensor:
        newest = stats["last_visit"].max()
        return stats["loss"] + self.rate * (newest - stats["last_visit"])

    def select(self, context: SelectionContext) -> Selection:
        generator = context.generator("ties", context.epoch)
        return Selection(top_k(context.scores, context.num_kept, generator=generator, among=context.seen))
"""
NO_METHODS = """
from emprune import Greedy


class Renamed(Greedy):
    name = "other"


nothing = None
"""
WRONG = {"nothing": "nothing", "renamed": "Renamed", "missing": "Missing", "emp": "Renamed"}


def build_wheel(folder: Path, name: str, modules: dict[str, str], methods: dict[str, str]) -> Path:
    """Write a wheel as any build tool does: the modules, and the methods as entry points."""
    info = f"{name}-1.0.dist-info"
    points = "\n".join(f"{method} = {target}" for method, target in methods.items())
    files = {f"{module}.py": source for module, source in modules.items()}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = f"[emprune.methods]\n{points}\n"
    records = [f"{path},{_digest(text)},{len(text.encode())}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*records, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed a good package and some bad ones."""
    folder, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    wheels = [
        build_wheel(folder, "good", {"ageing": AGEING}, {"ageing": "ageing:Ageing", "twice": "ageing:Ageing"}),
        build_wheel(folder, "broken", {"broken": "import nothing_of_that_name"}, {"broken": "broken:Broken"}),
        build_wheel(folder, "failing", {"failing": "1 / 0"}, {"failing": "failing:Failing"}),
        build_wheel(
            folder,
            "wrong",
            {"wrong": NO_METHODS},
            {
                "nothing": "wrong:nothing",
                "renamed": "wrong:Renamed",
                "missing": "wrong:Missing",
                "emp": "wrong:Renamed",
            },
        ),
        build_wheel(folder, "copycat", {"copycat": ""}, {"twice": "copycat:Twice"}),
    ]
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", site]
    subprocess.run([sys.executable, "-m", "pip", *map(str, (*install, *wheels))], check=True, timeout=120)
    return site


def run_python(site: Path, code: str, *arguments: str) -> Ended:
    return run_forked(code, *arguments, path=[str(site)])


COMMAND = "from emprune.cli import main; main()"


def test_the_library_makes_an_installed_method_by_its_name(site: Path) -> None:
    finished = run_python(
        site,
        dedent("""
        import sys
        import emprune
        assert "ageing" not in sys.modules
        method = emprune.methods.make_method("ageing:rate=0.5")
        assert method == emprune.methods.make_method("ageing", rate=0.5)
        assert type(method) is emprune.methods.method_class("ageing")
        pruner = emprune.DataPruner(method, num_samples=10, num_epochs=2, keep=0.5)
        print(method, len(pruner.begin_epoch(0)))
        """),
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["Ageing(rate=0.5)", "5"]


def test_own_names_need_no_look_at_what_is_installed(site: Path) -> None:
    code = "import sys, emprune; emprune.methods.make_method('emp'); from emprune.methods import plugins as p"
    finished = run_python(site, f"{code}; print(p.offered.cache_info().misses, 'wrong' in sys.modules)")
    assert finished.stdout.split() == ["0", "False"], finished.stderr


def test_a_method_that_does_not_load_names_its_distribution(site: Path) -> None:
    code = """
    import json, sys, emprune
    def message_of(name):
        try:
            emprune.methods.make_method(name)
        except emprune.ConfigError as error:
            return str(error)
    print(json.dumps({name: message_of(name) for name in sys.argv[1:]}))
    """
    names = ("broken", "failing", "nothing", "renamed", "missing", "twice", "ageng")
    finished = run_python(site, dedent(code), *names)
    assert finished.returncode == 0, finished.stderr
    said = json.loads(finished.stdout)
    assert "'broken' of the distribution 'broken' does not load. ModuleNotFoundError: No module named" in said["broken"]
    assert "the distribution 'failing' does not load. ZeroDivisionError" in said["failing"]
    assert "'wrong' does not load. Its entry point must name a subclass of emprune.Method; got None" in said["nothing"]
    assert "`Renamed.name` must be the name of its entry point, 'renamed'; got 'other'" in said["renamed"]
    assert "'wrong' does not load. AttributeError: module 'wrong' has no attribute 'Missing'" in said["missing"]
    assert "'twice' is offered by several distributions; got 'copycat' and 'good'" in said["twice"]
    assert "Did you mean 'ageing'?" in said["ageng"]


def test_the_command_lists_what_loads_and_says_what_does_not(site: Path) -> None:
    pytest.importorskip("typer")
    finished = run_python(site, COMMAND, "methods")
    assert finished.returncode == 0, finished.stderr
    shown = " ".join(finished.stdout.replace("│", " ").split())
    assert "ageing Keep the highest loss + rate · age. rate=0.1" in shown
    for distribution in ("broken", "failing", "wrong"):
        assert f"of the distribution '{distribution}' does not load." in shown
    assert "The method 'emp' of the distribution 'wrong' has a name that is taken. It is left out." in shown
    assert "Traceback" not in finished.stderr


def test_the_command_trains_with_an_installed_method(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("typer")
    small = "--epochs 2 --train-size 40 --batch-size 8 --precision fp32 --device cpu"
    out = tmp_path / "run"
    finished = run_python(site, COMMAND, *f"run digits --method ageing:rate=0.5 {small} --out {out}".split())
    assert finished.returncode == 0, finished.stderr
    assert "ageing:rate=0.5" in finished.stdout
    stored = json.loads((out / "config.json").read_text(encoding="utf-8"))["method"]
    assert stored == {"name": "ageing", "options": {"rate": 0.5}, "quota": "free", "floor": 0.0, "guard": None}
    refused = run_python(site, COMMAND, *f"run digits --method broken {small} --out {tmp_path / 'other'}".split())
    assert refused.returncode == 2
    assert "the distribution 'broken' does not load" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
