"""The runs of a comparison as jobs of a cluster, through submitit.

    this command ── submits ──> OUT/cluster/<job>_submitted.pkl ──> a node makes the run in its folder
         └──────── reads the visits from each run's log.jsonl, and what a job ended with

All machines share OUT. A job that is preempted goes on by itself, from its checkpoint. A job that dies is named at the
end, and the same command again makes what is missing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from emprune.errors import ConfigError, EmpruneError
from emprune_lab.comparison.pool import POLL_SECONDS, WatchJobs, check_finished, make_run
from emprune_lab.comparison.queue import Job
from emprune_lab.errors import StoppedError
from emprune_lab.run import Run
from emprune_lab.training.stopping import stop_on_signals

__all__ = ["run_on_cluster"]

COMMON = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node")
"""Parameters that submitit has for every cluster; the others are Slurm's own."""


def run_on_cluster(
    jobs: Sequence[Job],
    *,
    num_jobs: int,
    watch: WatchJobs,
    stop: Callable[[], bool],
    cluster: str,
    folder: Path,
    parameters: Mapping[str, str | int | float],
) -> None:
    """Make runs as jobs of a cluster, and return when all are finished.

    Args:
        jobs: The runs that are missing.
        num_jobs: Jobs at a time.
        watch: Told the numbers of the jobs that are finished and the visits of each, as far as its log has them.
        stop: Asked several times a second; once it says yes all jobs write a checkpoint and stop.
        cluster: submitit's name of it: `slurm`, or `local` for processes of this machine.
        folder: For the jobs' files and their output; all machines must see it.
        parameters: submitit's, by name: `timeout_min`, `mem_gb`, `partition`, ...

    Raises:
        ConfigError: If the cluster is not there, or does not know a parameter.
        StoppedError: If `stop` said yes.
        RunError: If jobs failed or died.
    """
    executor = _executor(cluster, folder, parameters)
    waiting, running, ended = list(jobs), dict[int, submitit.Job[str]](), dict[int, str]()
    cancelled = False
    while waiting or running:
        while waiting and len(running) < num_jobs and not stop():
            job = waiting.pop(0)
            executor.update_parameters(name=f"emprune-{job.number}")
            running[job.number] = executor.submit(ClusterRun(), job)
        for number in [number for number, submitted in running.items() if submitted.done()]:
            ended[number] = _outcome(running.pop(number))
        if stop() and not cancelled:  # once: a second signal breaks off what submitit does at the first
            cancelled = True
            waiting.clear()
            for submitted in running.values():
                submitted.cancel(check=False)
        finished = {number for number, outcome in ended.items() if not outcome}
        watch(finished, {job.number: job.visits_done for job in jobs})
        time.sleep(POLL_SECONDS)
    labels = {job.number: job.run.label for job in jobs}
    failures = {f"{labels[number]}: {outcome}" for number, outcome in ended.items() if outcome not in ("", STOPPED)}
    check_finished(len(jobs), sum(not outcome for outcome in ended.values()), failures, stopped=stop())


class ClusterRun:
    """What a node does with a job. It can be requeued: its checkpoints are in the run's folder."""

    def __call__(self, job: Job) -> str:
        """Make the run from where it stands; return what went wrong, in words, or nothing."""
        with stop_on_signals() as stop:
            try:
                run = job.run  # resolved again, with this node's device
                here = Run.resolve(run.settings, run.task, data_dir=run.data_dir, tracker=run.tracker)
                make_run(here, job.folder, report=Silent(), stop=stop)
            except StoppedError:
                return STOPPED
            except (EmpruneError, OSError) as error:
                return str(error)
        return ""

    def checkpoint(self, job: Job) -> submitit.helpers.DelayedSubmission:
        """Return what is submitted when the job is preempted, or out of time: the same run again."""
        return submitit.helpers.DelayedSubmission(self, job)


class Silent:
    """Reports nothing: the log in the run's folder says how far it is."""

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Nothing to say."""

    def step(self, num_visits: int) -> None:
        """Nothing to say."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Nothing to say."""

    def remark(self, line: str) -> None:
        """Say it in the job's output."""
        print(line, flush=True)


STOPPED = "stopped"


def _executor(cluster: str, folder: Path, parameters: Mapping[str, str | int | float]) -> submitit.AutoExecutor:
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        raise ConfigError(
            f"`launcher` must be a cluster that this machine reaches; got {cluster!r}. Start it where `srun` is, or "
            "leave --launcher out."
        ) from error
    own = {name if name in COMMON else f"slurm_{name}": value for name, value in parameters.items()}
    try:
        executor.update_parameters(**own)
    except (AssertionError, NameError, TypeError, ValueError) as error:  # submitit asserts types
        given = ", ".join(f"{name}={value}" for name, value in parameters.items())
        said = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"`cluster` must be parameters that submitit takes; got {given}. It says: {said}.") from error
    return executor


def _outcome(submitted: "submitit.Job[str]") -> str:
    """Return what a job that is done ended with: nothing, or what went wrong."""
    try:
        return submitted.result()
    except submitit.core.utils.UncompletedJobError:
        return f"its job died; {submitted.paths.stderr} has its last words"
    except submitit.core.utils.FailedJobError as error:
        return str(error).strip().splitlines()[-1]
