"""Delivery: exactly the plan, and each sample's index with it."""

from emprune.data.arrays import ArrayLoader
from emprune.data.indexed import KeptSamples
from emprune.data.loader import PrunedLoader
from emprune.data.streams import LEFT_OUT, KeyedStream, OpenShard, PrunedStream, ShardedStream, StreamIndex

__all__ = [
    "LEFT_OUT",
    "ArrayLoader",
    "KeptSamples",
    "KeyedStream",
    "OpenShard",
    "PrunedLoader",
    "PrunedStream",
    "ShardedStream",
    "StreamIndex",
]
