"""The `emprune` command. Its work is in the package emprune-lab; without it the command says what to install."""

import sys

__all__ = ["main"]

PACKAGE_OF = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""Packages that are not called like the module they bring."""

EXTRA_OF = {"accelerate": "transformers", "lightning": "lightning", "transformers": "transformers"}
"""The extra that brings a package which emprune-lab does not need for all it does."""


def main() -> None:
    """Run the command, or say what to install for it."""
    try:
        from emprune_lab.commands.app import app
        from emprune_lab.commands.characters import show_any_character

        show_any_character(sys.stdout, sys.stderr)
        app(prog_name="emprune")
    except ModuleNotFoundError as error:
        module, _, part = (error.name or "").partition(".")
        if module == "emprune_lab" and not part:
            sys.exit(
                "emprune: the command needs the package emprune-lab. Install it: pip install ./lab in a clone, else "
                "pip install 'emprune[lab]'"
            )
        if module in ("", "emprune", "emprune_lab"):  # a bug, and shown as one
            raise
        package = PACKAGE_OF.get(module, module)
        extras = ",".join(["lab", *([EXTRA_OF[module]] if module in EXTRA_OF else [])])
        sys.exit(
            f"emprune: the command needs the package {package}. Install it: pip install {_advised(package, extras)}"
        )


def _advised(package: str, extras: str) -> str:
    """Return what pip is told: an extra of emprune, where one brings the package."""
    from importlib.metadata import PackageNotFoundError, requires  # a tenth of a second

    try:
        declared = requires("emprune-lab") or []
    except PackageNotFoundError:  # run from its source, never installed
        declared = []
    brought = any(line.lower().replace("_", "-").startswith(package.lower().replace("_", "-")) for line in declared)
    return f"'emprune[{extras}]'" if brought else package
