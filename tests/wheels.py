"""What the built distributions hold and do: `make wheels` runs this file, without pytest, where only they are there."""

import json
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import requires, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ("emprune/py.typed", "emprune/testing/method_contract.py", "emprune/integrations/transformers.py")
LAB = (
    "emprune_lab/py.typed",
    "emprune_lab/pages/plotlyjs/LICENSE",
    "emprune_lab/pages/plotlyjs/plotly-basic.min.js",
    "emprune_lab/pages/templates/base.html.jinja",
    "emprune_lab/pages/templates/page.css",
    "emprune_lab/pages/templates/page.js",
    "emprune_lab/report/elsewhere.json",
    "emprune_lab/report/templates/page.html.jinja",
)
LIBRARY_SOURCE = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "conftest.py",
    "tests/unit/test_plan.py",
    "docs/methods/index.md",
)
LAB_SOURCE = ("pyproject.toml", "README.md", "LICENSE")


def check_wheel(dist: Path, name: str, expected: Iterable[str]) -> None:
    """A wheel holds its package and licence, and nothing else."""
    (wheel,) = dist.glob(f"{name}-*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    about = f"{name}-{version(name)}.dist-info"
    missing = {*expected, f"{about}/licenses/LICENSE"} - set(held)
    assert not missing, f"{wheel.name} lacks {sorted(missing)}"
    assert {path.partition("/")[0] for path in held} == {name, about}
    print(f"ok  {wheel.name}: {len(held)} files")


def check_sdist(dist: Path, name: str, expected: Iterable[str]) -> None:
    """A source distribution has what a packager needs."""
    (sdist,) = dist.glob(f"{name}-*.tar.gz")
    with tarfile.open(sdist) as content:
        held = {path.partition("/")[2] for path in content.getnames()}
    missing = set(expected) - held
    assert not missing, f"{sdist.name} lacks {sorted(missing)}"
    print(f"ok  {sdist.name}: {len(held)} files")


def check_needs() -> None:
    """The library needs torch and numpy; all else is an extra."""
    needed = [line for line in requires("emprune") or () if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in needed) == ["numpy", "torch"], needed
    print(f"ok  emprune {version('emprune')} needs {' and '.join(needed)}")


def check_command() -> None:
    """The command trains and reports, far from any checkout."""
    with tempfile.TemporaryDirectory() as folder:
        assert "infobatch" in call("methods", folder)
        call("run digits --epochs 2 --keep 0.5 --method emp --device cpu --out run", folder)
        result = json.loads(Path(folder, "run/result.json").read_text(encoding="utf-8"))
        assert 0 <= result["accuracy"] <= 100
        call("report run", folder)
        page = Path(folder, "run/report.html").read_text(encoding="utf-8")
        assert "</html>" in page
        assert len(page) < 1.5e6
    print(f"ok  emprune methods, run and report; the page has {len(page):,} characters")


def check_demo() -> None:
    """What `make demo` calls, with fewer seeds and epochs, ends with a verdict and a report."""
    with tempfile.TemporaryDirectory() as folder:
        printed = call(f"{demo()} --seeds 1 --epochs 3", folder)
        assert all(f"{question}: " in printed for question in ("Save", "Lose", "Which")), printed
        (report,) = Path(folder).rglob("report.html")
        methods = {json.loads(path.read_text(encoding="utf-8"))["method"] for path in Path(folder).rglob("result.json")}
    print(f"ok  the demo, with one seed: {len(methods)} methods, {report.name}")


def demo() -> str:
    """Return the arguments of the Makefile's demo."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(DEMO\w*) \?= (.+)$", lines, re.MULTILINE))
    return re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], values["DEMO"])


def check_first_page() -> None:
    """The code of the docs' page Start runs from top to bottom, as the file that the page asks for."""
    start = (ROOT / "docs/start/index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", start, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3, blocks
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text("\n".join(blocks), encoding="utf-8")
        printed = run([sys.executable, "train.py"], folder)
    assert re.search(r"visits so far +3,000", printed), printed
    print(f"ok  the page Start: {len(blocks)} blocks of code")


def call(arguments: str, folder: str) -> str:
    """Run the command in a folder, which must succeed, and return what it printed."""
    return run([sys.executable, "-m", "emprune", *shlex.split(arguments)], folder)


def run(command: list[str], folder: str) -> str:
    """Run a program in a folder, which must succeed, and return what it printed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout


def main() -> None:
    """Check what was built."""
    dist = Path(sys.argv[1])
    check_wheel(dist, "emprune", LIBRARY)
    check_wheel(dist, "emprune_lab", LAB)
    check_sdist(dist, "emprune", LIBRARY_SOURCE)
    check_sdist(dist, "emprune_lab", LAB_SOURCE)
    check_needs()
    check_command()
    check_demo()
    check_first_page()


if __name__ == "__main__":
    main()
