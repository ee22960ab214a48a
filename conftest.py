"""Runs the Python blocks of README.md and docs/ as tests, each page from top to bottom; loads the tests' own plugin."""

from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from emprune.methods import registry

pytest_plugins = ["pytester", "tests.messages"]


def _remember_methods(namespace: dict[str, Any]) -> None:
    namespace["_methods"] = dict(registry._METHODS)


def _restore_methods(namespace: dict[str, Any]) -> None:
    """Forget the methods a page registered, so that no later test sees them."""
    registry._METHODS.clear()
    registry._METHODS.update(namespace["_methods"])


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    setup=_remember_methods,
    teardown=_restore_methods,
).pytest()
