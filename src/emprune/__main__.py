"""`python -m emprune` is the `emprune` command."""

from emprune.cli import main

if __name__ == "__main__":
    main()
