"""An experiment's runs: which are finished, which are missing, and what all of them come to. It knows no screen."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from emprune.errors import ConfigError, EmpruneError
from emprune_lab.comparison.experiment import Experiment, Variant
from emprune_lab.comparison.notes import method_notes, notes
from emprune_lab.comparison.rows import Row, summarise
from emprune_lab.comparison.table import comparison_table
from emprune_lab.errors import OtherVersionError
from emprune_lab.files import refuse_foreign, write_whole
from emprune_lab.results.record import RunRecord, read_results, results_at
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run
from emprune_lab.settings import Settings
from emprune_lab.tasks import Task

__all__ = [
    "Comparison",
    "Job",
    "Queue",
    "VariantResult",
    "adopt",
    "begun",
    "folder_of",
    "look_elsewhere",
    "look_under_other_names",
    "make_queue",
    "named_otherwise",
    "num_replaced",
    "refuse_loss",
]

FORMAT = 3


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Args:
        number: By which the comparison knows it.
        run: What it is.
        folder: Where it is made.
    """

    number: int
    run: Run
    folder: Path

    @property
    def visits_done(self) -> int:
        """Visits until the run's last whole epoch, where its folder holds no result yet."""
        return RunFolder(self.folder).log.visits


@dataclass(frozen=True)
class VariantResult:
    """The runs of one combination of the varied settings, and their table's rows."""

    title: str
    results: list[RunRecord]
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """A finished experiment: a table for each combination of the varied settings."""

    experiment: Experiment
    variants: list[VariantResult]

    def remarks(self, variant: VariantResult) -> list[str]:
        """What a reader of a table must know."""
        said = notes(variant.rows, variant.results, baseline=self.experiment.baseline, margin=self.experiment.margin)
        methods = [(result.settings.method, result.settings.cost.keep) for result in variant.results]
        return said + method_notes(self.experiment.trained_on, methods)

    def write(self, out: Path, *, prefix: str = "") -> None:
        """Write the numbers of every run, OUT/<prefix>results.json, and the tables, OUT/<prefix>table.md."""
        results = {id(result): result for variant in self.variants for result in variant.results}.values()
        runs = [result.document() for result in results]
        document = {"format": FORMAT, "experiment": dataclasses.asdict(self.experiment), "runs": runs}
        text = json.dumps(document, indent=1) + "\n"
        write_whole(out / f"{prefix}results.json", lambda file: file.write(text.encode()))
        write_whole(out / f"{prefix}table.md", lambda file: file.write(self._markdown().encode()))

    def _markdown(self) -> str:
        parts = []
        for variant in self.variants:
            heading = f"### {variant.title}\n\n" if variant.title else ""
            table = comparison_table(variant.rows, margin=self.experiment.margin).markdown()
            remarks = "".join(f"\n{remark}\n" for remark in self.remarks(variant))
            parts.append(heading + table + remarks)
        return "\n".join(parts)


@dataclass(frozen=True)
class Queue:
    """The runs of an experiment, each once, however many tables it is in.

    Args:
        experiment: The runs are of this one.
        jobs: All of them, in the order of their numbers.
        numbers: The numbers of each variant's runs.
        elsewhere: The results of runs that were finished in another folder, by number, and that folder.
    """

    experiment: Experiment
    jobs: list[Job]
    numbers: list[list[int]]
    elsewhere: Mapping[int, tuple[RunRecord, Path | None]] = field(default_factory=dict)

    @property
    def missing(self) -> list[Job]:
        """Those that have not come to their end."""
        return [job for job in self.jobs if job.number not in self.elsewhere and not RunFolder(job.folder).finished]

    def result(self, job: Job) -> RunRecord:
        """Return the result of one that is not missing.

        Raises:
            RunError: If it is damaged.
        """
        return self.elsewhere[job.number][0] if job.number in self.elsewhere else RunFolder(job.folder).result()

    def by_variant(self) -> list[tuple[Variant, list[Job]]]:
        """Return each combination of the varied settings with its runs."""
        jobs = [[self.jobs[number] for number in numbers] for numbers in self.numbers]
        return list(zip(self.experiment.variants, jobs, strict=True))

    def comparison(self) -> Comparison:
        """Return what the runs come to, once all are finished."""
        results = [self.result(job) for job in self.jobs]
        found = []
        for variant, jobs in self.by_variant():
            own = [results[job.number] for job in jobs]
            found.append(VariantResult(variant.title, own, summarise(own, baseline=self.experiment.baseline)))
        return Comparison(self.experiment, found)


def make_queue(experiment: Experiment, out: Path, *, data_dir: Path | None = None, tracker: str | None = None) -> Queue:
    """Resolve every run before any is started, and give each its folder, OUT/<task>/<method and hash>/seed-<n>.

    Raises:
        ConfigError: If a run is impossible.
        RunError: If a folder's settings cannot be read.
    """
    jobs: dict[Path, Job] = {}
    numbers = []
    for variant in experiment.variants:
        folders = [folder_of(out, experiment.trained_on, settings) for settings in variant.runs]
        for folder, settings in zip(folders, variant.runs, strict=True):
            if folder not in jobs:
                run = Run.resolve(settings, experiment.trained_on, data_dir=data_dir, tracker=tracker)
                RunFolder(folder).check(settings, to_replace="delete that folder to run it again")
                jobs[folder] = Job(len(jobs), run, folder)
        numbers.append([jobs[folder].number for folder in folders])
    return Queue(experiment, list(jobs.values()), numbers)


def folder_of(out: Path, task: Task, settings: Settings) -> Path:
    """Return where a run is in the folder of all runs: OUT/<task>/<method and hash>/seed-<n>."""
    return out / task.slug / settings.folder_name / f"seed-{settings.seed}"


def look_elsewhere(queue: Queue, sources: Iterable[Path]) -> Queue:
    """Return the queue with the finished runs of other folders: another machine's, or a results.json.

    A run is found if its settings and seed are exactly those of one that is missing. A run with settings of another
    version of emprune is passed over.

    Raises:
        ConfigError: If a source is neither.
    """
    missing = {_key(job.run.settings): job for job in queue.missing}
    found = dict(queue.elsewhere)
    for source in sources:
        for results in results_at(source, pass_over=True):
            for result in results.runs:
                job = missing.pop(_key(result.settings), None)
                if job is not None:
                    found[job.number] = result, results.folder
    return dataclasses.replace(queue, elsewhere=found)


def look_under_other_names(queue: Queue, others: Mapping[str, RunFolder]) -> Queue:
    """Return the queue with the finished runs among `others`, from `named_otherwise`."""
    missing = [others[key] for job in queue.missing if (key := _key(job.run.settings)) in others]
    return look_elsewhere(queue, [folder.path for folder in missing if folder.finished])


def named_otherwise(queue: Queue, out: Path) -> dict[str, RunFolder]:
    """Return the runs in OUT with folders that this version would name differently, by their settings.

    Earlier versions made other hashes of the same settings. What cannot be read is left out: it is no missing run.
    """
    own = {job.folder for job in queue.jobs}
    found = {}
    for path in sorted((out / queue.experiment.trained_on.slug).glob("*/seed-*")):
        with suppress(EmpruneError):
            settings = None if path in own else RunFolder(path).settings()
            if settings is not None and path != folder_of(out, queue.experiment.trained_on, settings):
                found[_key(settings)] = RunFolder(path)
    return found


def begun(queue: Queue, others: Mapping[str, RunFolder]) -> list[tuple[Job, RunFolder]]:
    """Return the missing runs that are unfinished among `others`, from `named_otherwise`, and are not begun here."""
    jobs = [(job, others.get(_key(job.run.settings))) for job in queue.missing if not job.folder.exists()]
    return [(job, folder) for job, folder in jobs if folder is not None]


def refuse_loss(queue: Queue, out: Path, *, others: Mapping[str, RunFolder]) -> None:
    """Raise ConfigError if what the comparison will replace is of something else, or holds runs that are nowhere else.

    Args:
        queue: The comparison's runs, with those that will be taken over.
        out: Its folder.
        others: From `named_otherwise`.
    """
    refuse_foreign(out / "table.md", out / "report.html")
    file = out / "results.json"
    if not file.exists():
        return
    advice = "Choose another --out, or move it away."
    try:
        runs = read_results(file).runs
    except OtherVersionError as error:
        raise ConfigError(f"{file} would be replaced, and holds runs of another version. {advice}") from error
    except ConfigError as error:
        raise ConfigError(f"{file} would be replaced, and is none of emprune's. {advice}") from error
    other_tasks = sorted({run.settings.task for run in runs} - {queue.experiment.trained_on.name})
    if other_tasks:
        spelled = any(run.settings.same_files(queue.jobs[0].run.settings) for run in runs)
        how = "These are the same files: spell their path as it is there, or choose" if spelled else "Choose"
        raise ConfigError(
            f"`out` must be a folder of one task; got {out}, which holds a comparison of {', '.join(other_tasks)}. "
            f"{how} another --out."
        )
    safe = {queue.jobs[number].folder for number in queue.elsewhere}
    safe_keys = {key for key, folder in others.items() if folder.finished}
    num_lost = sum(
        _key(run.settings) not in safe_keys and not _is_kept(run.settings, queue.experiment, out, safe) for run in runs
    )
    if num_lost:
        raise ConfigError(
            f"{file} would be replaced. It holds {num_lost} run{'s' * (num_lost != 1)} that {out} has no folder of. "
            f"{advice} `--from {file}` takes such runs over."
        )


def num_replaced(queue: Queue, out: Path) -> int:
    """Return how many runs OUT/results.json compares that this comparison has not; their folders stay."""
    file = out / "results.json"
    own = {_key(job.run.settings) for job in queue.jobs}
    return sum(_key(run.settings) not in own for run in read_results(file).runs) if file.exists() else 0


def adopt(queue: Queue) -> Queue:
    """Take over what was found elsewhere: return the queue with those runs finished here.

    Raises:
        RunError: If another process trains in the folder of one.
    """
    for number, (result, folder) in queue.elsewhere.items():
        RunFolder(queue.jobs[number].folder).adopt(result, source=folder)
    return dataclasses.replace(queue, elsewhere={})


def _is_kept(settings: Settings, experiment: Experiment, out: Path, safe: Set[Path]) -> bool:
    """Whether a run has its folder, or one of those where it is safe."""
    folder = folder_of(out, experiment.trained_on, settings)
    return folder in safe or RunFolder(folder).finished


def _key(settings: Settings) -> str:
    return settings.model_dump_json()
