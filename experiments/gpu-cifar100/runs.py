"""The registered runs, in their order."""

import json

METHODS = ("random-permutation", "infobatch:normalize=true", "emp:pool=none", "emp:pool=2")


def pruned(seed: int) -> list[dict[str, object]]:
    """Return a seed's eight pruned runs."""
    return [{"method": method, "keep": keep, "seed": seed} for keep in (0.1, 0.3) for method in METHODS]


def full(seed: int) -> dict[str, object]:
    """Return a seed's run over all the data."""
    return {"method": "full", "keep": 1.0, "seed": seed}


if __name__ == "__main__":
    print(json.dumps([*pruned(0), full(0), *pruned(1), *pruned(2), full(1), full(2)], indent=1))
