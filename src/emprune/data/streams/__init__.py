"""Streams: data that is read forwards, shard by shard, where what is not in the plan is passed over undecoded."""

from emprune.data.streams.index import StreamIndex
from emprune.data.streams.pruned_stream import PrunedStream
from emprune.data.streams.stream import LEFT_OUT, KeyedStream, OpenShard, ShardedStream

__all__ = ["LEFT_OUT", "KeyedStream", "OpenShard", "PrunedStream", "ShardedStream", "StreamIndex"]
