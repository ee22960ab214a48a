"""Variants of EMP: each is a hypothesis of ours, in a file of its own."""
