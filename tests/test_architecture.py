"""Where anything may lie: imports run downwards, and no file or function is too long to be read at once.

The rules of imports stand in pyproject.toml, under `tool.importlinter`. What does not keep a rule yet stands there in
`ignore_imports`, and here in `NOT_YET`. Both only shrink: an entry that is no longer needed fails the test.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAB = ROOT / "lab/src/emprune_lab"
FILES = sorted([*(ROOT / "src").rglob("*.py"), *LAB.rglob("*.py")])
LONGEST_FILE, LONGEST_FUNCTION = 300, 50

NOT_YET = {
    "files": set[str](),
    "functions": set[str](),
    "names": set[str](),
    "torch": set[str](),
}


def functions_of(file: Path) -> Iterator[tuple[str, int]]:
    """Return each function of a file, and how many lines it has without its docstring."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_docstring = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_imports_run_downwards(capfd: pytest.CaptureFixture[str]) -> None:
    cli = pytest.importorskip("importlinter.cli", reason="the group dev has import-linter")
    status = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    said = capfd.readouterr().out
    assert status == cli.EXIT_STATUS_SUCCESS, said[said.find("Contracts\n") :]


def test_no_imports_go_in_a_circle() -> None:
    grimp = pytest.importorskip("grimp", reason="import-linter brings it")
    networkx = pytest.importorskip("networkx", reason="torch brings it")
    graph = grimp.build_graph("emprune", "emprune_lab", cache_dir=None)  # with those under TYPE_CHECKING
    imports = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    circles = networkx.strongly_connected_components(networkx.DiGraph(imports))
    assert [sorted(circle) for circle in circles if len(circle) > 1] == []


def test_no_file_is_long() -> None:
    long = {
        file.relative_to(ROOT).as_posix()
        for file in FILES
        if len(file.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE
    }
    assert long == NOT_YET["files"]


def test_no_function_is_long() -> None:
    long = {
        f"{file.relative_to(ROOT).as_posix()}: {name}"
        for file in FILES
        for name, num_lines in functions_of(file)
        if num_lines > LONGEST_FUNCTION
    }
    assert long == NOT_YET["functions"]


def test_no_two_files_of_the_lab_have_one_name() -> None:
    names = Counter(file.name for file in LAB.rglob("*.py") if file.name != "__init__.py")
    assert {name for name, number in names.items() if number > 1} == NOT_YET["names"]


def test_the_evidence_stands_on_results_and_statistics_alone() -> None:
    comparison = [f"emprune_lab.comparison.{name}" for name in ("curves", "rows", "statistics")]
    allowed = ("emprune_lab.results", "emprune_lab.metrics", *comparison)
    for file in [path for part in ("study", "frontier") for path in (ROOT / "experiments" / part).glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emprune_lab"):
                assert (node.module or "").startswith(allowed), f"{file.name} imports {node.module}"


@pytest.mark.parametrize(
    "module",
    ["settings", "method_spec", "results.checkpoints", "results.log", "results.record", "results.run_folder"],
)
def test_settings_and_results_are_read_without_torch(module: str) -> None:
    code = f"import emprune_lab.{module}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip() == "True") == (module in NOT_YET["torch"])
