"""Collects the runs of a folder into runs.json, and writes the table of the last epoch's accuracy.

`python experiments/gpu-cifar100/table.py FOLDER`
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from scipy import stats

HERE = Path(__file__).parent
BASELINE = "random-permutation"
ORDER = (BASELINE, "infobatch:normalize=true", "emp:pool=none", "emp:pool=2", "full")
Record = dict[str, Any]


def main() -> None:
    """Collect, write and print."""
    records = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
    (HERE / "runs.json").write_text(json.dumps(records, indent=1) + "\n")
    text = table(records)
    (HERE / "table.md").write_text(text)
    print(text)


def table(records: list[Record]) -> str:
    """Return the table, a row for each model, cost and method."""
    rows = [
        "| model | keep | method | accuracy % by seed | mean | above random permutation, paired | s a run |",
        "| --- | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    groups: dict[tuple[str, int, float, str], list[Record]] = {}
    for record in records:
        key = (record["settings"]["model"], record["settings"]["epochs"], record["keep"], record["method"])
        groups.setdefault(key, []).append(record)
    for key in sorted(groups, key=lambda key: (key[0], -key[1], -key[2], ORDER.index(key[3]))):
        model, epochs, keep, method = key
        found = {record["seed"]: record["accuracy"] for record in groups[key]}
        baseline = groups.get((model, epochs, keep, BASELINE), [])
        pairs = [found[r["seed"]] - r["accuracy"] for r in baseline if r["seed"] in found]
        above = "" if method == BASELINE or not pairs else difference(pairs)
        seconds = statistics.fmean(record["seconds"] for record in groups[key])
        each = ", ".join(f"{found[seed]:.2f}" for seed in sorted(found))
        mean = statistics.fmean(found.values())
        rows.append(
            f"| {model}, {epochs} epochs | {keep:g} | {method} | {each} | {mean:.2f} | {above} | {seconds:.0f} |"
        )
    return "\n".join(rows) + "\n"


def difference(pairs: list[float]) -> str:
    """Return the mean of paired differences, with Student's 95 % interval where there are three or more."""
    mean = statistics.fmean(pairs)
    if len(pairs) < 3:
        return f"{mean:+.2f} ({len(pairs)} pair{'s' if len(pairs) > 1 else ''})"
    half = float(stats.t.ppf(0.975, len(pairs) - 1)) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{mean:+.2f} ± {half:.2f}{' *' if abs(mean) > half else ''}"


if __name__ == "__main__":
    main()
