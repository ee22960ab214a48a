"""What merging the observations of several ranks costs, once per epoch, on gloo and this machine.

Run it from a checkout, with emprune-lab installed: `python benchmarks/merge.py --help`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.cost.merge_command import main

    sys.exit(main())
