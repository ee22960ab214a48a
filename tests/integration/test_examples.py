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


def test_movie_reviews_with_trl(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    pytest.importorskip("pandas")
    monkeypatch.setenv("CI", "1")  # TRL's trainers report their use
    words = ("a film of", "few jokes and", "long scenes", "that nobody", "will forget", "or wants", "to see again")
    lines = [f"{row}\t1.0\t{' '.join(words[row * step % 7] for step in range(1, row % 5 + 3))}" for row in range(80)]
    (tmp_path / "reviews.txt").write_text("\n".join(lines), encoding="utf-8")
    example = load("trl_movie_reviews")
    options = ["--epochs=3", "--vocabulary=300", "--hidden=16", "--layers=1", f"--out={tmp_path}"]
    loss = example.train(example.parse([f"--data={tmp_path / 'reviews.txt'}", *options]))
    assert 0 < loss < 6
    assert capsys.readouterr().out.count("hard to predict: row ") == 3


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
