"""GLUE (Wang et al. 2019): its classification tasks, from their official folders of TSV files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emprune.errors import ConfigError
from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.data.sources import in_archive, local_folder, web_file
from emprune_lab.data.text_files import Row, write_rows
from emprune_lab.errors import unknown_name
from emprune_lab.tasks.task import TextTask, fine_tuning

__all__ = ["PREFIX", "TASKS", "glue_task"]

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
        archive: At the official address, where it is not called like the folder.
        sha256: The archive's; None where the authors of the data have to be asked for them.
    """

    folder: str
    texts: tuple[str, ...]
    label: str = "label"
    num_classes: int = 2
    metric: str = "accuracy"
    columns: tuple[str, ...] | None = None
    test: str = "dev"
    archive: str | None = None
    sha256: str | None = None

    def sources(self) -> Iterator[Source]:
        """Yield the ways to get at it: unpacked beside the cached data sets, then from its address."""
        yield local_folder(f"glue/{self.folder}", self.convert)
        if self.sha256 is not None:
            address = f"{ADDRESS}/{self.archive or f'{self.folder}.zip'}"
            yield web_file(address, self.sha256, in_archive(self.folder, self.convert))

    def convert(self, folder: Path, into: Path) -> None:
        """Write the rows of both parts, of the official folder."""
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
                    yield [row[column] for column in wanted]


SENTENCE, SENTENCES, QUESTIONS = ("sentence",), ("sentence1", "sentence2"), ("question1", "question2")
TASKS = {
    "cola": Form(
        "CoLA", SENTENCE, columns=("source", "label", "star", "sentence"), metric="Matthews",
        sha256="f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff",
    ),
    "sst-2": Form("SST-2", SENTENCE, sha256="d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "mrpc": Form("MRPC", ("#1 String", "#2 String"), label="Quality", metric="F1"),
    "qqp": Form(
        "QQP", QUESTIONS, label="is_duplicate", metric="F1", archive="QQP-clean.zip",
        sha256="40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0",
    ),
    "mnli": Form(
        "MNLI", SENTENCES, label="gold_label", num_classes=3, test="dev_matched",
        sha256="e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633",
    ),
    "qnli": Form(
        "QNLI", ("question", "sentence"), archive="QNLIv2.zip",
        sha256="e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5",
    ),
    "rte": Form("RTE", SENTENCES, sha256="6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee"),
    "wnli": Form("WNLI", SENTENCES, sha256="ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46"),
}  # fmt: skip


def glue_task(name: str) -> TextTask:
    """Return the task that `glue:TASK` names, in small or capital letters.

    The development part is used for testing, because the labels of the test part are secret.

    Raises:
        ConfigError: If GLUE has no such classification task.
    """
    task = name.lower().removeprefix(PREFIX)
    if task in ("sts-b", "stsb"):
        raise ConfigError(
            "`glue:sts-b` is a regression, without the classes that EMP and the metrics here need. Take another task: "
            f"{', '.join(TASKS)}."
        )
    if task not in TASKS:
        raise unknown_name("task of GLUE", task, TASKS)
    form = TASKS[task]
    return TextTask(
        name=name.lower(),
        description=f"GLUE's {form.folder}",
        num_classes=form.num_classes,
        data=DataSet(name=f"glue-{form.folder.lower()}", sources=tuple(form.sources())),
        max_length=128,
        metric=form.metric,
        recipe=fine_tuning(epochs=6),
    )
