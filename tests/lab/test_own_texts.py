"""A user's own texts: which tables are read and how, which are refused, and that a run trains on them."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emprune_lab.errors import DataError
from emprune_lab.tasks import Splits, Texts, get_task
from emprune_lab.tasks.own_texts import own_texts

from emprune.errors import ConfigError, EmpruneError

HEAD = ("id", "text", "label")
TEXTS = ('film, not\n"so" bad', "ein schöner Film\t")
ROWS = [(str(row), f"{TEXTS[row % 3 == 0]} {row}", ("good", "bad")[row % 2]) for row in range(20)]


def write_csv(
    path: Path, rows: Sequence[Sequence[str]] = ROWS, *, head: Sequence[str] = HEAD, between: str = ","
) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=between).writerows([head, *rows])
    return f"texts:{path}"


def write_jsonl(path: Path) -> str:
    path.write_text("".join(json.dumps(dict(zip(HEAD, row, strict=True))) + "\n" for row in ROWS))
    return f"texts:{path}"


def write_parquet(path: Path) -> str:
    pq.write_table(pa.table(dict(zip(HEAD, zip(*ROWS, strict=True), strict=True))), path)
    return f"texts:{path}"


def rows_of(splits: Splits[Texts], name: str) -> list[tuple[str, str, str]]:
    """Each sample's row of the table it is said to come from, its text and its class, in the order of the table."""
    found = []
    for split in (splits.train, splits.test):
        for path, text, label in zip(split.paths or [], split.x.first, split.y.tolist(), strict=True):
            assert path.startswith(f"{name}[")
            found.append((path[len(name) + 1 : -1], text, (splits.classes or [])[label]))
    return sorted(found, key=lambda row: int(row[0]))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", write_csv),
        ("a.TSV", lambda path: write_csv(path, between="\t")),
        ("a.jsonl", write_jsonl),
        ("a.parquet", write_parquet),
    ],
)
def test_a_table_of_texts_is_read_whole_and_a_stratified_fifth_is_for_testing(
    name: str, write: Callable[[Path], str], tmp_path: Path
) -> None:
    task = get_task(write(tmp_path / name))
    splits = task.load(tmp_path)
    assert (task.kind, task.num_classes, splits.classes) == ("texts", 2, ("bad", "good"))
    assert rows_of(splits, name) == ROWS
    assert splits.test.y.tolist().count(0) == 2
    assert len(splits.test) == 4


def test_columns_are_named_in_the_task_and_two_make_pairs(tmp_path: Path) -> None:
    name = write_csv(
        tmp_path / "c:d" / "a.csv", [(f"q{i}", f"a{i}", str(i % 3)) for i in range(9)], head=("q", "a", "y")
    )
    splits = get_task(f"{name}:label=y:text=q+a").load(tmp_path)
    assert splits.classes == ("0", "1", "2")
    assert isinstance(splits.train.x, Texts)
    train = splits.train
    for path, first, second in zip(train.paths or [], train.x.first, train.x.second or [], strict=True):
        assert path == f"a.csv[{first[1:]}]"
        assert second[1:] == first[1:]


@pytest.mark.parametrize("column", [[True, False] * 4, [3, 10] * 4, ["3", "10"] * 4])
def test_labels_may_be_numbers_or_truth_values(column: list[object], tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"] * 8, "label": column}), tmp_path / "a.parquet")
    splits = get_task(f"texts:{tmp_path / 'a.parquet'}").load(tmp_path)
    assert splits.classes == (("False", "True") if column[0] is True else ("3", "10"))
    assert rows_of(splits, "a.parquet")[0] == ("0", "x", str(column[0]))


def test_a_folder_holds_a_training_and_a_test_table_in_any_form(tmp_path: Path) -> None:
    write_csv(tmp_path / "Train.csv", ROWS[:15])
    write_csv(tmp_path / "val.tsv", ROWS[15:], between="\t")
    write_csv(tmp_path / "notes.csv")
    (tmp_path / "notes.txt").touch()
    splits = get_task(f"texts:{tmp_path}").load(tmp_path)
    assert (list(splits.train.paths or [])[-1], list(splits.test.paths or [])) == (
        "Train.csv[14]",
        [f"val.tsv[{row}]" for row in range(5)],
    )
    assert splits.train.x.first == tuple(row[1] for row in ROWS[:15])


def test_other_texts_and_other_columns_are_another_run_and_the_same_elsewhere_are_not(tmp_path: Path) -> None:
    def files(name: str) -> str | None:
        return get_task(name).files

    first = files(write_csv(tmp_path / "a.csv", [(*row, row[2]) for row in ROWS], head=(*HEAD, "other")))
    assert files(write_csv(tmp_path / "b" / "c.csv", [(*row, row[2]) for row in ROWS], head=(*HEAD, "other"))) == first
    assert files(f"texts:{tmp_path / 'a.csv'}:label=other") != first
    assert files(write_csv(tmp_path / "d.csv", ROWS[1:])) != first


def test_spellings_of_one_path_are_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "a.csv")
    for label in ("a", "b"):
        (tmp_path / "img" / label).mkdir(parents=True)
        (tmp_path / "img" / label / "1.png").write_bytes(b"")
    for spelled, plain in [
        ("texts:./a.csv:text=text", "texts:a.csv:text=text"),
        ("texts:.//a.csv", "texts:a.csv"),
        ("image-folder:./img/", "image-folder:img"),
        ("image-folder:img/:size=16", "image-folder:img:size=16"),
    ]:
        assert get_task(spelled).name == plain
        assert get_task(spelled) == get_task(plain)


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        ("text,label\n" + "a,0\nb,1\n" * 4, ":text=review", ConfigError, "must have the columns label and review"),
        ("text,label,text\n" + "a,0,a\nb,1,b\n" * 4, "", ConfigError, "each once; got text, label, text"),
        ("text,label\n" + "a,0\nb,1\n" * 4, ":text=text+", ConfigError, r"two joined by \+; got 'text\+'"),
        ("text,label\n" + "".join(f"a,{n}.5\n" for n in range(8)), "", ConfigError, "must hold classes; got 8 values"),
        ("text,label\n" + "a,0\n" * 8, "", ConfigError, "at least two classes; got 0"),
        ("text,label\n", "", DataError, "holds no rows"),
        ("", "", DataError, "cannot be read as csv"),
        ("text,label\na,0\nb\n", "", DataError, "must have a value in each row; got none in label, row 1"),
        ("text,label\na,0\nb,1,2\n", "", DataError, "cannot be read as csv: Expected 2 fields in line 3, saw 3"),
        ('text,label\na,0\n"b,1\n', "", DataError, "cannot be read as csv: EOF inside string starting at row 2"),
        ("text,label\na,0\n ,1\n", "", DataError, "got none in text, row 1"),
        ("text;label\na;0\nb;1\n", "", ConfigError, "got text;label. Separate the columns by commas"),
    ],
)
def test_a_table_that_holds_no_classes_of_texts_is_refused(
    content: str, options: str, error: type[EmpruneError], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(error, match=message):
        get_task(f"texts:{tmp_path / 'a.csv'}{options}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a", "label": 0}\n\n{"text": "b", "label": NaN}\n', "got none in label, row 1"),
        (b'{"text": "a", "label": 0}\n{"text": "b"}\n', "got none in label, row 1"),
        (b'{"text": "a", "label": 0}\n["b", 1]\n', "cannot be read as jsonl: line 2 is no object"),
        (b'{"text": "a", "label": 0}\n{"text"\n', "cannot be read as jsonl: line 2: Expecting"),
        (b'{"text": "\xe4", "label": 0}\n', "must be UTF-8; got other bytes"),
    ],
)
def test_json_lines_that_are_none_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        get_task(f"texts:{tmp_path / 'a.jsonl'}")


def test_what_looks_like_a_date_or_differs_in_another_column_is_taken_as_it_stands(tmp_path: Path) -> None:
    rows = [{"text": "2020-01-04", "label": f"2020-01-0{n % 2}", "meta": (1, "a", None, [2])[n % 4]} for n in range(8)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    splits = get_task(f"texts:{tmp_path / 'a.jsonl'}").load(tmp_path)
    assert rows_of(splits, "a.jsonl")[:2] == [("0", "2020-01-04", "2020-01-00"), ("1", "2020-01-04", "2020-01-01")]


def test_a_link_is_known_by_its_own_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "blob.csv")
    (tmp_path / "blob.csv").rename(tmp_path / "0af3")
    (tmp_path / "mine.csv").symlink_to(tmp_path / "0af3")
    assert rows_of(get_task(f"texts:{tmp_path / 'mine.csv'}").load(tmp_path), "mine.csv") == ROWS
    (tmp_path / "round.csv").symlink_to(tmp_path / "round.csv")
    for name in ("texts", "image-folder"):
        with pytest.raises(ConfigError, match=r"round\.csv is none"):
            get_task(f"{name}:{tmp_path / 'round.csv'}")


@pytest.mark.parametrize("name", ["texts", "image-folder"])
def test_a_path_that_is_not_utf_8_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"A path must be UTF-8; got b'caf\\xe9'"):
        get_task(f"{name}:caf\udce9")


def test_a_row_without_a_text_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x", "y", None, "z"], "label": [0, 1, 0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet must have a value in each row; got none in text, row 2"):
        get_task(f"texts:{tmp_path / 'a.parquet'}")
    pq.write_table(pa.table({"text": [["x"]] * 4, "label": [0, 1, 0, 1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"The column text of .* must hold texts or numbers; got \['x'\] in row 0"):
        get_task(f"texts:{tmp_path / 'b.parquet'}")


def test_places_that_hold_no_texts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("")
    for path, message in [
        (tmp_path / "none.csv", "with a table or a folder of tables; .*none.csv is none"),
        (tmp_path / "a.xlsx", "must end in .csv, .tsv, .jsonl, .parquet; got a.xlsx"),
        (tmp_path, "must hold train.csv"),
    ]:
        with pytest.raises(ConfigError, match=message):
            get_task(f"texts:{path}")
    write_csv(tmp_path / "test.csv")
    with pytest.raises(ConfigError, match=r"holds test.csv and no training part"):
        get_task(f"texts:{tmp_path}")
    write_csv(tmp_path / "train.csv", [*ROWS, ("20", "new", "so so"), ("21", "new", "so so")])
    write_csv(tmp_path / "more" / "train.csv")
    write_csv(tmp_path / "more" / "dev.csv")
    with pytest.raises(ConfigError, match=r"must name its parts .*; got train.csv, dev.csv"):
        get_task(f"texts:{tmp_path / 'more'}")
    write_csv(tmp_path / "more" / "test.csv", [("0", "new", "so so")])
    (tmp_path / "more" / "dev.csv").unlink()
    with pytest.raises(DataError, match="holds classes that the training part lacks: so so. It has bad, good."):
        get_task(f"texts:{tmp_path / 'more'}").load(tmp_path)
    (tmp_path / "more" / "test.csv").rename(tmp_path / "more" / "test.json")
    own_texts.cache_clear()
    with pytest.raises(ConfigError, match=r"must end in .*; got test\.json"):
        get_task(f"texts:{tmp_path / 'more'}")
    write_jsonl(tmp_path / "train.jsonl")
    with pytest.raises(ConfigError, match=r"must hold each part once; got train.csv, train.jsonl"):
        get_task(f"texts:{tmp_path}")
