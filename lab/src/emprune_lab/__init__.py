"""Experiments built on emprune: tasks, models, one run, a comparison of many, and what they say."""

__version__ = "0.2.0.dev0"
