"""The example programs of the frameworks run, and what they print is true."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Import an example, which is a program and no part of a package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("framework", ["accelerate", "lightning"])
def test_digits(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(framework)
    pytest.importorskip("sklearn")
    settings = {"cpu": True} if framework == "accelerate" else {"accelerator": "cpu"}
    accuracy = load(f"{framework}_digits").main(num_epochs=8, keep=0.5, **settings)
    assert accuracy > 0.9
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith(f"test accuracy {accuracy:.1%}, after ")
    assert printed.endswith("of 12000 visits: 50% saved")
