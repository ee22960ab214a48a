"""The `emprune` command: the entry point, which needs nothing beyond the library to say what else it needs."""

import re
import sys

__all__ = ["main"]

EXTRAS = ("lab", "transformers", "accelerate", "lightning")
OTHER_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""Packages that are not called like the module they bring."""


def main() -> None:
    """Run the command, or say what to install for it."""
    try:
        from emprune.lab.app import app
        from emprune.lab.characters import show_any_character

        show_any_character(sys.stdout, sys.stderr)
        app(prog_name="emprune")
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "emprune"):  # a bug, and shown as one
            raise
        sys.exit(f"emprune: the command needs the package {module!r}, which is not installed. {_advice(module)}")


def _advice(module: str) -> str:
    """Return how to install what has the module: with an extra, where one brings it."""
    package = OTHER_NAMES.get(module, module)
    extra = next((extra for extra in EXTRAS if _normal(package) in _packages(extra)), None)
    if extra is None:
        return "Install it."
    return f"pip install 'emprune[lab{'' if extra == 'lab' else f',{extra}'}]' brings it."


def _packages(extra: str) -> set[str]:
    """Return the packages that an extra of emprune requires."""
    from importlib.metadata import PackageNotFoundError, requires  # a tenth of a second

    try:
        declared = requires("emprune") or []
    except PackageNotFoundError:  # run from its source, never installed
        return set()
    wanted = re.compile(rf"([\w.-]+).*extra == ['\"]{extra}['\"].*")
    return {_normal(found[1]) for found in map(wanted.fullmatch, declared) if found}


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
