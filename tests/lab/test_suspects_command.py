"""`emprune suspects`: the samples of a run that look mislabelled, as a table and on a page."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from emprune_lab.commands.app import app
from emprune_lab.commands.tables import suspects_table
from emprune_lab.report.suspect_samples import Suspects
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.tasks.image_folder import image_folder
from emprune_lab.training.arrays import ArrayTraining
from rich.console import Console
from typer.testing import CliRunner, Result

from emprune.errors import ConfigError
from tests.lab import browser
from tests.lab.browser import NEEDS_CHROMIUM
from tests.lab.runs import SilentReporter, run_of, run_small, small_settings
from tests.lab.test_images import write_folder
from tests.messages import Raises

SETTINGS: dict[str, Any] = {"epochs": 12, "keep": 0.5, "train_size": 400}


def suspects(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["suspects", *map(str, arguments)])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on digits, of which a tenth has wrong labels."""
    folder = tmp_path_factory.mktemp("runs") / "noisy"
    run_small(small_settings("emp", label_noise=0.1, record="all", **SETTINGS), folder)
    return folder


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on an image folder, which recorded the mean loss alone, beside its data."""
    place = tmp_path_factory.mktemp("pets")
    write_folder(place / "pets" / "train", {"cat": 9, "owl": 11})
    write_folder(place / "pets" / "test", {"cat": 2, "owl": 2})
    task = f"image-folder:{place / 'pets'}:size=8"
    settings = small_settings("random", task=task, train_size=16, batch_size=4, keep=1.0, record="mean_loss")
    training = ArrayTraining(run_of(settings, data_dir=place / "data"))
    training.train(RunFolder.open(place / "run", settings), report=SilentReporter())
    return place


def test_the_wrong_labels_come_first(noisy: Path, tmp_path: Path) -> None:
    files = ["--csv", tmp_path / "new" / "s.csv", "--parquet", tmp_path / "s.parquet"]
    result = suspects(noisy, "--top", 40, *files)
    assert result.exit_code == 0, result.output
    assert "40 samples that look mislabelled, by mean margin" in result.output
    assert "and 20 more" in result.output
    table = pd.read_csv(tmp_path / "new" / "s.csv", index_col="position")
    same = pd.read_parquet(tmp_path / "s.parquet")
    assert same["mean_margin"].to_list() == pytest.approx(table["mean_margin"].to_list())
    assert same.index.to_list() == table.index.to_list()
    assert list(table.columns) == [
        *("given", "predicted", "p_given", "mean_margin", "mean_loss", "loss", "first_learnt", "forgotten", "visits")
    ]
    assert table["mean_margin"].is_monotonic_increasing
    clean, given = (run_of(small_settings(label_noise=noise, **SETTINGS)).splits.train.y for noise in (0.0, 0.1))
    assert given[table.index.to_list()].tolist() == table["given"].to_list()
    wrong = (clean != given)[table.index.to_list()]
    assert float(wrong.float().mean()) > 0.5  # of ten times as many by chance


@pytest.mark.parametrize("sample", ["text", "path", None])
def test_the_table_fits_80_columns_a_sample_a_line(sample: str | None) -> None:
    names = [f"a class of a long name, number {number}" for number in range(3)]
    signals = ("p_given", "mean_margin", "mean_loss", "loss", "first_learnt", "forgotten", "visits")
    values = {name: [-0.123456789, 1234567.0, 1e-9] for name in signals}
    table = pd.DataFrame({**({} if sample is None else {sample: ["long " * 50] * 3}), "given": names, **values})
    found = Suspects(run=None, table=table.assign(predicted=names), by="mean_margin", num_unseen=7)  # type: ignore[arg-type]
    printed = io.StringIO()
    Console(width=80, file=printed).print(suspects_table(found, most=2, width=80))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("a class of a l…" in line for line in lines) == 2
    assert len([line for line in lines if line.strip()]) == 6  # title, head, rule, two samples, caption
    assert "-0.123" in printed.getvalue()


def test_another_signal(noisy: Path) -> None:
    assert "by loss" in suspects(noisy, "--by", "loss").output


def test_of_an_image_folder_it_names_the_files(pets: Path, tmp_path: Path) -> None:
    page = tmp_path / "s.html"
    result = suspects(pets / "run", "--top", 5, "--html", page, "--data-dir", pets / "data")
    assert result.exit_code == 0, result.output
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 5
    assert html.count('class="copy"') == 5
    assert "train/cat/" in html or "train/owl/" in html
    assert "by mean loss" in result.output


def test_without_the_data_there_are_no_pictures(pets: Path, noisy: Path, tmp_path: Path) -> None:
    (pets / "pets").rename(pets / "moved")
    result = suspects(pets / "run", "--html", tmp_path / "s.html", "--data-dir", tmp_path)
    (pets / "moved").rename(pets / "pets")
    assert result.exit_code == 0, result.output
    assert "Without pictures." in (tmp_path / "s.html").read_text()


def test_pictures_of_data_that_have_changed_since_the_run_are_not_shown(pets: Path, tmp_path: Path) -> None:
    """As many images as before, one of them in another class: positions would name other images."""
    one, other = sorted((pets / "pets" / "train" / "cat").iterdir())[0], pets / "pets" / "train" / "owl" / "new.png"
    one.rename(other)
    image_folder.cache_clear()
    result = suspects(pets / "run", "--html", tmp_path / "s.html", "--data-dir", pets / "data")
    other.rename(one)
    image_folder.cache_clear()
    assert result.exit_code == 0, result.output
    html = (tmp_path / "s.html").read_text()
    assert "The data have changed since the run" in html
    assert "data:image/png" not in html


def test_a_row_of_a_table_keeps_its_number_and_a_name_of_several_lines_is_one(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a long name of a table of reviews.csv[1234]"] * 2, "text": "a\nb", "given": "c\nd"})
    table = table.assign(predicted="a class of a long name", p_given=0.5, mean_margin=-0.1, visits=3)
    found = Suspects(run=None, table=table, by="mean_margin", num_unseen=0)  # type: ignore[arg-type]
    printed = io.StringIO()
    Console(width=80, file=printed).print(suspects_table(found, most=2, width=80))
    assert printed.getvalue().count(".csv[1234]  c d") == 2


def test_of_texts_it_shows_the_texts(place: Path, tmp_path: Path) -> None:
    from tests.lab.texts import run_text, text_settings

    run_text(text_settings(place, "greedy", record="predicted"), tmp_path / "run", place)
    result = suspects(tmp_path / "run", "--top", 3, "--html", tmp_path / "s.html", "--data-dir", place / "data")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "s.html").read_text().count("<q>") == 3


@pytest.mark.parametrize("name", ["train.csv", "samples.parquet", "page.html"])
def test_a_file_that_is_none_of_ours_is_not_replaced_and_ours_is(noisy: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    option = f"--{path.suffix[1:]}"
    theirs = (noisy / "samples.parquet").read_bytes() if path.suffix == ".parquet" else b"theirs, p_given too late"
    path.write_bytes(theirs)
    result = suspects(noisy, option, path)
    assert result.exit_code == 2
    assert "none of emprune's" in result.output.replace("\n", " ")
    assert path.read_bytes() == theirs
    path.unlink()
    assert [suspects(noisy, "--top", 3, option, path).exit_code for _ in range(2)] == [0, 0]


def test_a_table_goes_into_a_file_of_its_suffix(noisy: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("theirs")
    result = suspects(noisy, "--csv", tmp_path / "train.py", "--html", tmp_path / "s.html")
    assert result.exit_code == 2
    assert "must be a file that ends in .csv" in result.output.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


def test_what_is_no_run(tmp_path: Path, noisy: Path) -> None:
    assert suspects(tmp_path).exit_code == 2
    (noisy / "samples.parquet").rename(noisy / "away")
    result = suspects(noisy)
    (noisy / "away").rename(noisy / "samples.parquet")
    assert result.exit_code == 2
    assert "samples.parquet" in result.output


@pytest.mark.parametrize("record", ["loss", "mean_loss,,predicted"])
def test_what_cannot_be_recorded(raises: Raises, record: Any) -> None:
    with raises(ConfigError, parameter="record"):
        run_of(small_settings(record=record))


class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_it_sorts_copies_and_asks_nobody(self, pets: Path, tmp_path: Path) -> None:
        suspects(pets / "run", "--top", 6, "--html", tmp_path / "s.html", "--data-dir", pets / "data")
        with browser.browser() as shown:
            shown.open(tmp_path / "s.html")
            rank = shown.page.locator("thead th", has_text="rank")
            before = browser.rows(shown.page, 2)
            assert before == ["1", "2", "3", "4", "5", "6"]
            shown.page.locator("button.copy >> nth=0").click()
            assert "copied" in str(shown.page.locator("button.copy >> nth=0").get_attribute("class"))
            assert browser.rows(shown.page, 2) == before
            rank.locator("button").click()
            assert browser.rows(shown.page, 2) == before[::-1]
            assert shown.said == []
            assert all(url.startswith(("file:", "data:")) for url in shown.asked)
