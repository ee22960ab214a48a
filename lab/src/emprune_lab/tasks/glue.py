"""GLUE (Wang et al. 2019): its classification tasks, from their official folders of TSV files."""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from emprune.errors import ConfigError
from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.data.rows import FILES, Row, fine_tuning, read_splits, write_rows
from emprune_lab.data.sources import check_digest, download
from emprune_lab.errors import unknown_name
from emprune_lab.tasks.task import Splits, Texts, TextTask

__all__ = ["PREFIX", "TASKS", "glue_data", "glue_task"]

PREFIX = "glue:"
ADDRESS = "https://dl.fbaipublicfiles.com/glue/data"


@dataclass(frozen=True)
class Form:
    """How one of GLUE's tasks is laid out.

    Args:
        folder: The official folder's name.
        texts: The columns of the text, or of the two texts.
        label: The column of the label.
        num_classes: Classes C.
        metric: GLUE's own.
        columns: The columns' names, where the files have no first line that says them.
        test: The part that is scored: GLUE keeps the labels of its test parts to itself.
        archive: At the official address; None where the authors of the data have to be asked.
        sha256: The archive's.
    """

    folder: str
    texts: tuple[str, ...]
    label: str = "label"
    num_classes: int = 2
    metric: str = "accuracy"
    columns: tuple[str, ...] | None = None
    test: str = "dev"
    archive: str | None = None
    sha256: str = ""

    @property
    def data(self) -> DataSet:
        """Where it comes from."""
        address = f"{ADDRESS}/{self.archive}"
        online = () if self.archive is None else (Source(address, partial(self._from_address, address), verified=True),)
        beside = Source(f"the folder glue/{self.folder} in the data folder", self._from_folder)
        return DataSet(name=f"glue-{self.folder.lower()}", sources=(beside, *online), files=FILES)

    def _from_folder(self, into: Path, data_dir: Path) -> None:
        self._convert(data_dir / "glue" / self.folder, into)

    def _from_address(self, address: str, into: Path, _data_dir: Path) -> None:
        with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
            download(address, Path(temporary, "archive.zip"))
            check_digest(Path(temporary, "archive.zip"), self.sha256)
            with zipfile.ZipFile(Path(temporary, "archive.zip")) as content:
                content.extractall(temporary)
            self._convert(Path(temporary, self.folder), into)

    def _convert(self, folder: Path, into: Path) -> None:
        write_rows(into, *(self._rows(folder / f"{part}.tsv") for part in ("train", self.test)))

    def _rows(self, file: Path) -> Iterator[Row]:
        """Read a file as everybody does: without quoting, and leaving out lines that are cut short."""
        if not file.is_file():
            raise SourceError(f"{file.name} not there")
        with file.open(encoding="utf-8-sig") as lines:  # the csv module takes no text of over 131,072 letters
            rows = (line.rstrip("\n").split("\t") for line in lines)
            columns = self.columns or next(rows, [])
            missing = sorted({self.label, *self.texts} - set(columns))
            if missing:
                raise SourceError(f"{file.name} has no column {', '.join(missing)}")
            wanted = [columns.index(name) for name in (self.label, *self.texts)]
            for row in rows:
                if len(row) > max(wanted):
                    yield [row[place] for place in wanted]


SENTENCES = ("sentence1", "sentence2")
TASKS = {
    "cola": Form(
        "CoLA",
        ("sentence",),
        columns=("source", "label", "star", "sentence"),
        metric="Matthews",
        archive="CoLA.zip",
        sha256="f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff",
    ),
    "sst-2": Form(
        "SST-2",
        ("sentence",),
        archive="SST-2.zip",
        sha256="d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa",
    ),
    "mrpc": Form("MRPC", ("#1 String", "#2 String"), label="Quality", metric="F1"),
    "qqp": Form(
        "QQP",
        ("question1", "question2"),
        label="is_duplicate",
        metric="F1",
        archive="QQP-clean.zip",
        sha256="40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0",
    ),
    "mnli": Form(
        "MNLI",
        SENTENCES,
        label="gold_label",
        num_classes=3,
        test="dev_matched",
        archive="MNLI.zip",
        sha256="e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633",
    ),
    "qnli": Form(
        "QNLI",
        ("question", "sentence"),
        archive="QNLIv2.zip",
        sha256="e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5",
    ),
    "rte": Form(
        "RTE",
        SENTENCES,
        archive="RTE.zip",
        sha256="6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee",
    ),
    "wnli": Form(
        "WNLI",
        SENTENCES,
        archive="WNLI.zip",
        sha256="ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46",
    ),
}


def glue_data(name: str) -> DataSet:
    """Return the data set of `glue:TASK`.

    Raises:
        ConfigError: If GLUE has no such classification task.
    """
    return _form(name).data


@lru_cache
def glue_task(name: str) -> TextTask:
    """Return the task that `glue:TASK` names, in small or capital letters.

    Raises:
        ConfigError: If GLUE has no such classification task.
    """
    form = _form(name)
    return TextTask(
        name=name.lower(),
        description=f"GLUE's {form.folder}",
        num_classes=form.num_classes,
        load=partial(load, form),
        max_length=128,
        metric=form.metric,
        recipe=fine_tuning(epochs=6),
    )


def load(form: Form, data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits[Texts]:
    """Return the training part, and the development part in the place of the test part, whose labels are secret.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    return read_splits(form.data.ensure(data_dir, say=say), num_classes=form.num_classes)


def _form(name: str) -> Form:
    task = name.lower().removeprefix(PREFIX)
    if task in ("sts-b", "stsb"):
        raise ConfigError(
            "`glue:sts-b` is a regression, without the classes that EMP and the metrics here need. Take another task: "
            f"{', '.join(TASKS)}."
        )
    if task not in TASKS:
        raise unknown_name("task of GLUE", task, TASKS)
    return TASKS[task]
