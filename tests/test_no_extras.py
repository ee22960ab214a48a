"""The library needs torch and numpy alone.

These tests run everywhere with the extras blocked. `make no-extras` runs this file as a script, without pytest, in an
environment where they are not installed at all.
"""

import functools
import importlib.util
import subprocess
import sys

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
            print(module.name)
            if module.ispkg:
                import_below(imported)

import_below(emprune)
"""

IMPORT_INTEGRATIONS = """
import importlib

for name in NAMES:
    try:
        importlib.import_module("emprune.integrations." + name)
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " "), sep=": ")
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
print(visited)
"""


def start_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
    )


def run_python(code: str) -> str:
    """Run `code` in a new interpreter, which must succeed, and return what it printed."""
    finished = start_python(code)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@functools.cache
def modules_after_import() -> frozenset[str]:
    """Return the names of all modules that importing every public name of emprune leaves behind."""
    return frozenset(run_python("from emprune import *; import sys; print(*sys.modules)").split())


def test_importing_emprune_imports_no_extra() -> None:
    imported = {name.partition(".")[0] for name in modules_after_import()}
    assert imported.isdisjoint(EXTRAS), f"`import emprune` imported {sorted(imported.intersection(EXTRAS))}"


def test_importing_emprune_imports_nothing_that_stands_on_it() -> None:
    imported = modules_after_import().intersection(ON_DEMAND)
    assert not imported, f"`import emprune` imported {sorted(imported)}"


def test_every_module_of_the_library_imports_without_the_extras() -> None:
    printed = run_python(f"ON_DEMAND = {ON_DEMAND!r}\n{BLOCK_EXTRAS}{IMPORT_EVERYTHING}")
    assert {"emprune.pruner", "emprune.methods.emp", "emprune.data.loader"} <= set(printed.split())


def test_a_model_trains_without_the_extras() -> None:
    visited = int(run_python(BLOCK_EXTRAS + TRAIN))
    assert visited == 4 * 30  # keep=0.5 of 60 samples, four epochs


def test_the_command_says_what_to_install() -> None:
    finished = start_python(f"{BLOCK_EXTRAS}\nimport emprune.cli\nemprune.cli.main()")
    assert finished.returncode == 1
    assert "pip install 'emprune[lab]'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_an_integration_says_what_to_install() -> None:
    extras = {name: name for name in ("accelerate", "lightning", "trl")}
    extras |= {"datasets": "streams", "sentence_transformers": "sentence-transformers", "webdataset": "streams"}
    said = run_python(f"NAMES = {tuple(extras)!r}\n{BLOCK_EXTRAS}{IMPORT_INTEGRATIONS}").splitlines()
    for line, (name, extra) in zip(said, extras.items(), strict=True):
        assert line.startswith(f"ModuleNotFoundError: emprune.integrations.{name} needs")
        assert f"pip install 'emprune[{extra}]'" in line


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
