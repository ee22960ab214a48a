"""Experiments built on the library: tasks, models, one run, a comparison of many. Needs the extra `lab`."""
