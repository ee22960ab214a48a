"""How fast `emprune run` trains, next to a loop written by hand without pruning, and what keep 0.3 takes of full.

Run it from a checkout, with emprune-lab installed: `python benchmarks/training.py --help`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.cost.training import main

    sys.exit(main())
