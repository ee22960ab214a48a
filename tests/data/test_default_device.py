"""A default device that is set after the import, as scripts do, changes no plan: columns and plans are CPU tensors."""

import subprocess
import sys

PROGRAM = """
import torch
import emprune
from torch.utils.data import DataLoader, TensorDataset

dataset, labels = TensorDataset(torch.arange(16.0)), [number % 2 for number in range(16)]
torch.set_default_device("meta")  # where nothing can be computed: what lands there fails


def train(loader):
    for epoch in loader.epochs():
        for index, batch in loader:
            loader.reduce(index, index.float())
    return loader.pruner


for options in ({}, {"groups": emprune.Groups(labels, quota="equal", floor=0.1), "pinned": [1]}, {"weights": labels}):
    if "weights" in options:
        options = {"weights": [1 + label for label in labels]}
    pruner = train(emprune.PrunedLoader(DataLoader(dataset, batch_size=2), "greedy", num_epochs=3, keep=0.5, **options))
suspects = pruner.suspects(2)
assert int(suspects.mask.sum()) == 2 and len(suspects.rest) == 14
stream = emprune.data.KeyedStream(lambda shard: [(f"{n}", float(n)) for n in range(8)], shards=["a", "b"])
loader = emprune.PrunedStream(DataLoader(stream, batch_size=2, collate_fn=list), "greedy", num_epochs=3, keep=0.5)
assert int(train(loader).visits.sum()) == 24
"""


def test_a_default_device_that_is_set_after_the_import_changes_nothing() -> None:
    ended = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
