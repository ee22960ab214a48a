"""The committed results: every command that stands in the docs beside a figure or a number still makes it."""

import re
import shlex
from pathlib import Path

import pytest

from tests.lab.reports import call_script

matplotlib = pytest.importorskip("matplotlib", reason="the group dev has it")

ROOT = Path(__file__).parents[2]
PRINTED = ROOT / "experiments/study/printed.txt"
"""Commands after a `$`, each with what it printed when the study was closed."""

PAGES = ("docs/evidence/results.md", "docs/evidence/study.md", "experiments/README.md")
BLOCKS = [block.partition("\n") for block in PRINTED.read_text(encoding="utf-8").split("\n$ ")[1:]]
DRAWING = [command for command, _, printed in BLOCKS if not printed.strip()]


def call(command: str, monkeypatch: pytest.MonkeyPatch, out: Path | None = None) -> str:
    """Run a command of the docs from the repository's root; what it draws goes to `out` and not to docs/."""
    monkeypatch.chdir(ROOT)
    _, script, *words = shlex.split(command)
    arguments = [path for word in words for path in sorted(map(str, ROOT.glob(word))) or [word]]
    if out is not None:
        arguments[-1] = str(out / Path(arguments[-1]).name)
    outcome = call_script(ROOT / script, *arguments)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def texts_of(svg: str) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", svg)


@pytest.mark.parametrize(("command", "printed"), [(c, p) for c, _, p in BLOCKS if c not in DRAWING])
def test_a_command_prints_what_it_printed(command: str, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(command, monkeypatch).splitlines() == printed.strip("\n").splitlines()


@pytest.mark.parametrize("command", DRAWING)
def test_a_figure_is_drawn_again(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(command, monkeypatch, tmp_path)
    drawn = sorted(tmp_path.iterdir())
    assert [path.name.rpartition("-")[2] for path in drawn] == ["dark.svg", "light.svg"]
    for path in drawn:
        committed = (ROOT / "docs/evidence" / path.name).read_text(encoding="utf-8")
        assert texts_of(path.read_text(encoding="utf-8")) == texts_of(committed)
        if f"Matplotlib v{matplotlib.__version__}," in committed:  # another version may place things differently
            assert path.read_text(encoding="utf-8") == committed


def test_every_command_of_the_docs_is_here() -> None:
    said = {
        line.partition("#")[0].strip()
        for page in PAGES
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("python experiments/study/")
    }
    assert said <= {command for command, _, _ in BLOCKS}
