"""What the engine costs: planning, observing, delivery and memory, next to what one would pay without it.

Run it from a checkout, with emprune-lab installed: `python benchmarks/engine.py --help`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.cost.command import main

    sys.exit(main())
