from pathlib import Path

import pytest

from tests.lab.reports import write_comparison
from tests.lab.runs import run_small, small_settings


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `small_settings()`."""
    path = tmp_path_factory.mktemp("finished") / "run"
    run_small(small_settings(), path)
    return path


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of nine finished runs, never trained, and their results.json."""
    out = tmp_path_factory.mktemp("comparison")
    write_comparison(out)
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and tiny data, for runs on texts."""
    from tests.lab.texts import write_glue, write_model  # which needs transformers

    folder = tmp_path_factory.mktemp("texts")
    write_model(folder / "model")
    write_glue(folder / "data")
    return folder
