"""One measurement in a process of its own: `python -m benchmarks.cost CASE '{"option": value}'` prints JSON."""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.cost import delivery, machine, memory, merging, observing, planning

CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "delivery": delivery.measure,
    "machine": machine.measure,
    "memory": memory.measure,
    "merging": merging.measure,
    "observing": observing.measure,
    "planning": planning.measure,
}

if __name__ == "__main__":
    case, options = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(options.pop("threads"))
    print(json.dumps(CASES[case](**options)))
