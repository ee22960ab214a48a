"""The `emprune` command: the entry point, which needs nothing beyond the library to say what else it needs."""

import sys

__all__ = ["main"]

LAB_PACKAGES = ("platformdirs", "plotly", "rich", "scipy", "sklearn", "typer")


def main() -> None:
    """Run the command, or say what to install for it."""
    try:
        from emprune.lab.app import app
        from emprune.lab.characters import show_any_character
    except ModuleNotFoundError as error:
        if error.name not in LAB_PACKAGES:
            raise
        sys.exit(f"emprune: the command needs the package {error.name!r}: pip install 'emprune[lab]'")
    show_any_character(sys.stdout, sys.stderr)
    app(prog_name="emprune")
