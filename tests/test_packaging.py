"""The two distributions are released together."""

import re
import tomllib
from pathlib import Path

import emprune_lab
import pytest
from packaging.requirements import Requirement

import emprune

ROOT = Path(__file__).parent.parent


def test_both_distributions_and_the_citation_have_one_version() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert emprune.__version__ == emprune_lab.__version__ == cited[1]


@pytest.mark.parametrize(("file", "other"), [("pyproject.toml", "emprune-lab"), ("lab/pyproject.toml", "emprune")])
def test_each_asks_for_the_other_in_versions_that_hold_its_own(file: str, other: str) -> None:
    project = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"].get("lab", ())]
    (asked,) = [found for found in map(Requirement, lines) if found.name == other]
    assert asked.specifier.contains(emprune.__version__, prereleases=True)


def test_both_have_the_same_licence() -> None:
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "lab/LICENSE").read_bytes()
