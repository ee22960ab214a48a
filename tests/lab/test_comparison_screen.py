"""What `emprune compare` shows of an experiment whose keep is varied: what is left of it, and its tables."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from emprune_lab.commands import comparison_table
from emprune_lab.commands.compare import what_is_left
from emprune_lab.commands.consoles import literal_console
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.queue import Comparison, VariantResult, make_queue
from emprune_lab.comparison.rows import summarise
from emprune_lab.results.record import read_record

from tests.lab.reports import result_of

SMALL = {"epochs": 3, "train_size": 80, "batch_size": 16, "device": "cpu", "precision": "fp32"}


def small(methods: Sequence[str], keep: Sequence[float]) -> Experiment:
    return Experiment(task="digits", methods=methods, seeds=[0, 1], settings={**SMALL, "keep": keep})


def test_what_is_left_counts_a_run_that_several_combinations_share_once(tmp_path: Path) -> None:
    queue = make_queue(small(["full", "random-permutation"], keep=[0.5, 0.4]), tmp_path)
    lines = what_is_left(queue)
    assert [(settings, method, runs) for settings, method, runs, _, _ in lines] == [
        ("keep 0.5", "full", 2),
        ("keep 0.5", "random-permutation", 2),
        ("keep 0.4", "full (see keep 0.5)", 0),
        ("keep 0.4", "random-permutation", 2),
    ]
    assert sum(runs for _, _, runs, _, _ in lines) == len(queue.missing)
    assert sum(visits for *_, visits in lines) == sum(job.run.sizes.visits for job in queue.missing)


def test_a_method_that_the_verdict_of_a_comparison_leaves_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    monkeypatch.setattr(comparison_table, "out", literal_console(width=200, file=text))
    experiment = small(["random-permutation", "emp:pool=2", "greedy"], keep=[0.5])
    (variant,) = experiment.variants
    results = [read_record(result_of(one)) for one in variant.runs if (one.method.name, one.seed) != ("greedy", 1)]
    rows = summarise(results, baseline=experiment.baseline)
    comparison_table.print_comparison(Comparison(experiment, [VariantResult("", results, rows)]), tmp_path)
    caution = "greedy shares only one seed with random permutation, fewer than others. The verdict leaves it out."
    assert caution in " ".join(text.getvalue().split())


def test_what_all_tables_need_explained_is_printed_once_below_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    monkeypatch.setattr(comparison_table, "out", literal_console(width=200, file=text))
    experiment = small(["random-permutation", "infobatch"], keep=[0.5, 0.05])
    variants = []
    for variant in experiment.variants:
        results = [read_record(result_of(settings)) for settings in variant.runs]
        variants.append(VariantResult(variant.title, results, summarise(results, baseline=experiment.baseline)))
    comparison_table.print_comparison(Comparison(experiment, variants), tmp_path)
    printed = " ".join(text.getvalue().split())
    tables = [printed.index(f"digits, keep {keep}, {tmp_path}") for keep in (0.5, 0.05)]
    for legend in ("95 % interval (Student t); difference: to", "Only 2 seeds, fewer than 5"):
        assert printed.count(legend) == 1
        assert printed.index(legend) > max(tables)
    low = "At a keep this low InfoBatch prefers nothing"  # of the second table alone
    assert printed.count(low) == 1
    assert tables[1] < printed.index(low) < printed.index("Only 2 seeds")
