"""The merge benchmark's command: every size in processes of its own, a table, a JSON file."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cost.command import Record, run_case

__all__ = ["main"]


def main() -> int:
    """Measure, print and write; return the exit status."""
    options = _options()
    settings = {"threads": options.threads, "world_size": options.ranks, "repeats": options.repeats}
    machine = run_case("machine", {"threads": options.threads})
    records: list[Record] = [{"case": "machine", "settings": {"threads": options.threads}, "measured": machine}]
    progress = Console(stderr=True)
    for size in options.sizes:
        for method in options.methods.split(","):
            case = {**settings, "method": method, "num_samples": size}
            progress.print(f"merging {case}", highlight=False)
            records.append({"case": "merging", "settings": case, "measured": run_case("merging", case)})
            if options.json is not None:
                options.json.write_text(json.dumps({"records": records}, indent=1) + "\n")
    _print(Console(width=124 if not sys.stdout.isatty() else None), records[1:])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What merging the observations of several ranks costs, per epoch.")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument(
        "--sizes", type=_sizes, default="1e6,1e7", help="dataset sizes; 1e8 takes 10 GiB (default: %(default)s)"
    )
    parser.add_argument("--methods", default="greedy,emp:pool=none", help="methods (default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="epochs that are timed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch per rank (default: %(default)s)")
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    return [int(float(size)) for size in text.split(",")]


def _print(console: Console, records: list[Record]) -> None:
    columns = ("method", "N", "K", "merge and fold", "fold on one rank", "dense", "pairs", "peak per rank", "bytes / N")
    table = Table(*columns, title="Uniting an epoch's observations, keep 0.3")
    for record in records:
        settings, found = record["settings"], record["measured"]
        times = (f"{1e3 * found[name]['median']:,.0f} ms" for name in ("merge", "alone", "dense", "pairs"))
        table.add_row(
            settings["method"],
            f"{settings['num_samples']:,}",
            f"{found['num_kept']:,}",
            *times,
            f"{found['peak_bytes'] / 2**30:.2f} GiB",
            f"{found['peak_bytes_per_sample']:.0f}",
        )
    console.print(table)
