"""The benchmark's command: each case in a process of its own, a table, a JSON file, and the targets."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Case", "Record", "main", "run_case"]

_ROOT = Path(__file__).resolve().parents[2]
_METHODS = (
    "greedy",
    "emp:pool=none",
    "emp:pool=2",
    "emp:pool=gap",
    "infobatch",
    "ucb",
    "epsilon-greedy",
    "random",
    "random-permutation",
    "order-dp",
    "soft",
    "soft:by=softmax",
    "soft:by=percentile",
    "reducible-loss",
    "kakurenbo",
    "seta",
    "random-permutation@equal",
    "emp@equal",
    "emp@floor=0.1",
    "random by weights",
    "emp by weights",
)
_PLANNING_LIMITS = {
    "greedy": 1.5,
    "emp:pool=none": 1.5,
    "emp:pool=2": 3,
    "emp:pool=gap": 3,
    "infobatch": 3,
    "ucb": 3,
    "epsilon-greedy": 3,
    "random": 3,
    "random-permutation": 3,
    "order-dp": 3,
    "soft": 3,
    "soft:by=softmax": 3,
    "soft:by=percentile": 3,
    "reducible-loss": 1.5,
    "kakurenbo": 3,
    "seta": 3,
    "random-permutation@equal": 3,
    "emp@equal": 3,
    "emp@floor=0.1": 3,
    "random by weights": 3,
    "emp by weights": 3,
}
"""How many unsorted topk planning may take, by method: 1.5 for a top k of all, 3 for what draws, divides or holds.

KAKURENBO draws here, because more samples must be shown than are kept. UCB holds its choice in nine epochs of ten."""
_CASES = ("planning", "observing", "delivery", "memory")
_HUGE = 100_000_000
_LARGE = 10_000_000
_TARGETED = 1_000_000

Case = tuple[str, dict[str, Any]]
Record = dict[str, Any]


def main() -> int:
    """Measure, print and write; return the exit status, 0 whether or not the targets are reached."""
    options = _options()
    sizes = [50_000] if options.quick else [50_000, _TARGETED, _LARGE]
    cases = [
        (case, settings)
        for case, settings in _cases(sizes, huge=not options.quick, threads=options.threads, device=options.device)
        if case in ("machine", *options.case)
    ]
    console = Console(width=110 if not sys.stdout.isatty() else None)
    progress = Console(stderr=True)
    records: list[Record] = []
    for number, (case, settings) in enumerate(cases, start=1):
        progress.print(f"{number} of {len(cases)}: {case} {settings}", highlight=False)
        records.append({"case": case, "settings": settings, "measured": run_case(case, settings)})
        if options.json is not None:
            document = {"records": records, "targets": list(_targets(records))}
            options.json.write_text(json.dumps(document, indent=1) + "\n")
    _print(console, records, list(_targets(records)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the engine costs, next to what one would pay without it.")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where losses, logits and arrays are, cpu or cuda")
    parser.add_argument(
        "--case", choices=_CASES, nargs="+", default=_CASES, help="what to measure (default: all of it)"
    )
    parser.add_argument("--quick", action="store_true", help="N = 50,000 alone: seconds instead of minutes")
    return parser.parse_args()


def _cases(sizes: list[int], *, huge: bool, threads: int, device: str) -> Iterator[Case]:
    yield "machine", {"threads": threads}
    planning = [(method, size, 5) for size in sizes for method in _METHODS]
    for method, size, repeats in planning:
        settings = {"method": method, "num_samples": size, "repeats": repeats, "device": device}
        yield "planning", {"threads": threads, **settings}
    small = [size for size in sizes if size <= _TARGETED]
    for method, used in product(("greedy", "emp:pool=none", "infobatch"), sorted({1, threads})):
        settings = {"method": method, "num_samples": small[-1], "rounds": 40, "device": device}
        yield "observing", {"threads": used, **settings}
    for size, (dataset, workers) in product(small, (("pairs", 0), ("positions", 0), ("pairs", 2), ("arrays", 0))):
        settings = {"dataset": dataset, "num_samples": size, "workers": workers, "repeats": 15}
        settings |= {"device": device} if dataset == "arrays" else {}
        yield "delivery", {"threads": threads, **settings}
    for size, (method, full) in product(
        sizes, (("emp:pool=none", False), ("emp:pool=2", False), ("infobatch", False), ("emp:pool=none", True))
    ):
        yield "memory", {"threads": threads, "method": method, "num_samples": size, "full": full}
    for method in ("greedy", "emp:pool=none", "emp:pool=2") if huge else ():
        yield "planning", {"threads": threads, "method": method, "num_samples": _HUGE, "repeats": 1, "device": device}


def run_case(case: str, settings: dict[str, Any]) -> Record:
    """Return what a case measured, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cost", case, json.dumps(settings)]
    output = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: Record = json.loads(output)
    return measured


def _of(records: list[Record], case: str) -> Iterator[tuple[dict[str, Any], Record]]:
    return ((record["settings"], record["measured"]) for record in records if record["case"] == case)


def _targets(records: list[Record]) -> Iterator[Record]:
    """What was to be reached, and whether it was, in this very run."""
    for settings, measured in _of(records, "planning"):
        limit = _PLANNING_LIMITS.get(settings["method"])
        if settings["num_samples"] == _LARGE and limit is not None:
            ratio = measured["planning"]["median"] / measured["top_k_unsorted"]["median"]
            yield _target(f"planning {settings['method']} at 10 M, over one unsorted topk", ratio, limit)
    for settings, measured in _of(records, "observing"):
        name = f"reduce {settings['method']}, {settings['threads']} thread(s), µs above the mean, best round"
        yield _target(name, 1e6 * measured["above"]["min"], 60)
    for settings, measured in _of(records, "delivery"):
        if settings["num_samples"] == _TARGETED and settings["dataset"] == "pairs":
            ratio = measured["pruned"]["min"] / measured["plain"]["min"]
            yield _target(f"loader at 1 M, {settings['workers']} workers, over a plain one, best epochs", ratio, 1.10)
    for settings, measured in _of(records, "memory"):
        if settings["num_samples"] == _LARGE:
            name = f"{settings['method']} at 10 M, keep {measured['keep']}"
            yield _target(f"peak of planning, {name}, bytes per sample", measured["peak_bytes_per_sample"], 48)
            if settings["method"] == "emp:pool=none":
                yield _target(f"columns, {name}, bytes per sample", measured["column_bytes_per_sample"], 16)


def _target(name: str, found: float, limit: float) -> Record:
    return {"name": name, "found": found, "limit": limit, "reached": found <= limit}


def _print(console: Console, records: list[Record], targets: list[Record]) -> None:
    planning = Table("method", "N", "plan", "topk", "topk unsorted", "plan / topk unsorted", title="Planning an epoch")
    for settings, measured in _of(records, "planning"):
        plan, *rivals = (measured[name]["median"] for name in ("planning", "top_k", "top_k_unsorted"))
        row = (f"{seconds * 1e3:,.1f} ms" for seconds in (plan, *rivals))
        planning.add_row(settings["method"], f"{settings['num_samples']:,}", *row, f"{plan / rivals[1]:.2f}")
    observing = Table("method", "threads", "best round", "median round", "mean alone", title="reduce, above the mean")
    for settings, measured in _of(records, "observing"):
        times = measured["above"]["min"], measured["above"]["median"], measured["mean"]["min"]
        observing.add_row(settings["method"], str(settings["threads"]), *(f"{1e6 * time:.1f} µs" for time in times))
    delivery = Table("dataset", "N", "workers", "emprune", "plain", "ratio", title="An epoch of the loader, keep 0.3")
    for settings, measured in _of(records, "delivery"):
        ours, plain = measured["pruned"]["median"], measured["plain"]["median"]
        size, workers = f"{settings['num_samples']:,}", str(settings["workers"])
        delivery.add_row(settings["dataset"], size, workers, f"{ours:.3f} s", f"{plain:.3f} s", f"{ours / plain:.2f}")
    reached = Table("target", "found", "at most", "", title="Targets")
    for target in targets:
        verdict = "[green]PASS" if target["reached"] else "[red]FAIL"
        reached.add_row(target["name"], f"{target['found']:.2f}", f"{target['limit']:g}", verdict)
    for table in (planning, observing, delivery, reached):
        console.print(table)
