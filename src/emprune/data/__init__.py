"""Delivery: exactly the plan, and each sample's index with it."""

from emprune.data.arrays import ArrayLoader
from emprune.data.indexed import KeptSamples
from emprune.data.loader import PrunedLoader

__all__ = ["ArrayLoader", "KeptSamples", "PrunedLoader"]
