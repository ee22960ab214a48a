"""The page of versions says what the projects ask for and what is tested; every task has its terms."""

import re
import tomllib
from pathlib import Path

from emprune_lab.tasks import IMAGES, TEXTS
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/help/versions.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \|", re.MULTILINE)


def asked_for() -> dict[str, str]:
    """The lower bound of each package that any part of the projects asks for."""
    found: dict[str, str] = {}
    for file in ("pyproject.toml", "lab/pyproject.toml"):
        document = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))
        project = document["project"]
        lists = [project["dependencies"], *project["optional-dependencies"].values()]
        lists.append(document.get("dependency-groups", {}).get("test", []))
        for requirement in (Requirement(text) for texts in lists for text in texts if isinstance(text, str)):
            low = [one.version for one in requirement.specifier if one.operator == ">="]
            found.setdefault(requirement.name, next(iter(low), ""))
    return found


def test_the_oldest_versions_are_what_is_asked_for_and_the_tested_ones_what_is_pinned() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    rows = {name: (oldest, tested) for name, oldest, tested in ROW.findall(PAGE)}
    assert rows == {name: (asked_for()[name], pinned[name]) for name in rows}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {Requirement(text).name for texts in extras.values() for text in texts}
    assert named - {"emprune-lab"} <= set(rows)


def test_every_task_has_its_terms() -> None:
    table = PAGE[PAGE.index("| task | by |") :]
    assert [task.name for task in (*IMAGES, *TEXTS) if f"`{task.name}`" not in table] == []
