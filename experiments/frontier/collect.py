"""Copy the finished runs of every comparison, whole or not, into the results that are committed.

python experiments/frontier/collect.py runs/frontier
"""

import json
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.append(str(Path(__file__).parents[1] / "study"))
from evidence import config_of, read_stored  # a module of the study, beside this folder

HERE = Path(__file__).parent
DESCRIPTION = ("task", "methods", "baseline", "margin", "settings", "title")


def collect(file: Path, runs: Path) -> int:
    """Write the results of a comparison's finished runs beside its file, and return how many there are.

    Args:
        file: The comparison's TOML.
        runs: The folder that it runs in.
    """
    target = file.with_suffix("") / "results.json"
    found: dict[str, Mapping[str, Any]] = {}
    for path in [target, *sorted(runs.rglob("result.json"))]:
        for run in read_stored(path) if path.is_file() else ():
            content = {name: value for name, value in run.items() if name != "format"}
            found[json.dumps(config_of(run), sort_keys=True)] = content
    if found:
        target.parent.mkdir(exist_ok=True)
        said = {"baseline": "random-permutation", "margin": None, **tomllib.loads(file.read_text())}
        experiment = {name: said[name] for name in DESCRIPTION}
        document = {"format": 2, "experiment": experiment, "runs": list(found.values())}
        target.write_text(json.dumps(document, indent=1) + "\n")
    whole = runs / "results.json"
    if whole.is_file() and len(read_stored(whole)) == len(found):
        shutil.copyfile(runs / "table.md", target.with_name("table.md"))
    return len(found)


def main(
    runs: Annotated[Path, typer.Argument(help="The folder that run.sh was given.", exists=True)],
    into: Annotated[Path, typer.Option(help="Where the comparisons' files are.")] = HERE,
) -> None:
    """Say how many runs of each comparison are finished, and write them down."""
    for file in sorted(into.glob("*.toml")):
        number = collect(file, runs / file.stem)
        if number:
            typer.echo(f"{file.stem}: {number} runs")


if __name__ == "__main__":
    typer.run(main)
