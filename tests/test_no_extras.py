"""The library needs torch and numpy alone.

These tests run everywhere with the extras blocked. `make no-extras` runs this file as a script, without pytest, in an
environment where they are not installed at all.
"""

import functools
import importlib.util
import json
import subprocess
import sys
from typing import Any

EXTRAS = (
    "accelerate",
    "datasets",
    "lightning",
    "plotly",
    "pooch",
    "pyarrow",
    "rich",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "torchdata",
    "transformers",
    "trl",
    "typer",
    "webdataset",
)
# What stands on the extras, and what brings test tools to third parties.
ON_DEMAND = ("emprune.cli", "emprune.integrations", "emprune_lab", "emprune.testing")

NEEDED = {
    "accelerate": "accelerate",
    "datasets": "streams",
    "lightning": "lightning",
    "sentence_transformers": "sentence-transformers",
    "trl": "trl",
    "webdataset": "streams",
}
"""The extra that each integration asks for."""

SAY = """
import json

def say(what, found):
    print(json.dumps([what, found]))
"""

BLOCK_EXTRAS = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))  # None: importing it is an ImportError
"""

IMPORT_EVERYTHING = """
import importlib, pkgutil
import emprune

def import_below(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name not in ON_DEMAND and module.name != "emprune.__main__":
            imported = importlib.import_module(module.name)
            found.append(module.name)
            if module.ispkg:
                import_below(imported)

found = []
import_below(emprune)
say("modules", found)
"""

IMPORT_INTEGRATIONS = """
import importlib

found = []
for name in NAMES:
    try:
        importlib.import_module("emprune.integrations." + name)
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
say("integrations", found)
"""

TRAIN = """
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
import emprune

torch.manual_seed(0)
dataset = TensorDataset(torch.randn(60, 4), torch.arange(60) % 3)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
pruner = emprune.DataPruner(emprune.EMP(), num_samples=60, num_epochs=4, keep=0.5, seed=0)
loader = emprune.PrunedLoader(DataLoader(dataset, batch_size=10, shuffle=True), pruner)
visited = 0
for epoch in range(4):
    loader.set_epoch(epoch)
    for index, (x, y) in loader:
        logits = model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        pruner.reduce(index, losses, logits).backward()
        optimizer.step()
        optimizer.zero_grad()
        visited += len(index)
say("visited", visited)
"""

CALL_THE_COMMAND = """
import emprune.cli

emprune.cli.main()
"""


def start_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
    )


@functools.cache
def without_extras() -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Return what each piece of work said in one interpreter in which importing an extra fails, and how it ended.

    It ends with the command, which fails.
    """
    names = f"ON_DEMAND, NAMES = {ON_DEMAND!r}, {tuple(NEEDED)!r}"
    work = (SAY, names, BLOCK_EXTRAS, IMPORT_EVERYTHING, TRAIN, IMPORT_INTEGRATIONS, CALL_THE_COMMAND)
    finished = start_python("\n".join(work))
    said = dict(map(json.loads, finished.stdout.splitlines()))
    assert said.keys() == {"modules", "visited", "integrations"}, finished.stderr
    return said, finished


@functools.cache
def modules_after_import() -> frozenset[str]:
    """Return the names of all modules that importing every public name of emprune leaves behind."""
    finished = start_python("from emprune import *; import sys; print(*sys.modules)")
    assert finished.returncode == 0, finished.stderr
    return frozenset(finished.stdout.split())


def test_importing_emprune_imports_no_extra() -> None:
    imported = {name.partition(".")[0] for name in modules_after_import()}
    assert imported.isdisjoint(EXTRAS), f"`import emprune` imported {sorted(imported.intersection(EXTRAS))}"


def test_importing_emprune_imports_nothing_that_stands_on_it() -> None:
    imported = modules_after_import().intersection(ON_DEMAND)
    assert not imported, f"`import emprune` imported {sorted(imported)}"


def test_every_module_of_the_library_imports_without_the_extras() -> None:
    assert {"emprune.pruner", "emprune.methods.emp", "emprune.data.loader"} <= set(without_extras()[0]["modules"])


def test_a_model_trains_without_the_extras() -> None:
    assert without_extras()[0]["visited"] == 4 * 30  # keep=0.5 of 60 samples, four epochs


def test_the_command_says_what_to_install() -> None:
    _, finished = without_extras()
    assert finished.returncode == 1
    assert "pip install 'emprune[lab]'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_an_integration_says_what_to_install() -> None:
    for said, (name, extra) in zip(without_extras()[0]["integrations"], NEEDED.items(), strict=True):
        assert said.startswith(f"ModuleNotFoundError: emprune.integrations.{name} needs")
        assert f"pip install 'emprune[{extra}]'" in said


def check_in_a_bare_environment() -> None:
    """Run the tests without pytest, after making sure that no extra is installed."""
    installed = [name for name in EXTRAS if importlib.util.find_spec(name) is not None]
    assert not installed, f"this environment is not bare: {installed}"
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"ok  {name}")


if __name__ == "__main__":
    check_in_a_bare_environment()
