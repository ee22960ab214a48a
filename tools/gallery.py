"""Run the notebooks of docs/gallery, and leave a page of each in build/gallery for the site.

`make docs` calls it. A cell that fails ends it with the cell's error. A notebook that has not changed since its page
was made is not run again; `--again` runs all of them.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from traitlets.config import Config

from tools.addresses import ROOT, address, repository

NOTEBOOKS, PAGES = ROOT / "docs/gallery", ROOT / "build/gallery"


def run(notebook: Path, pages: Path) -> None:
    """Run a notebook from top to bottom, and write its page and its pictures."""
    content = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(notebook.parent)}}
    quiet = ["--log-level=ERROR"]  # of the kernel, which would warn of its local port
    NotebookClient(content, timeout=300, resources=resources, extra_arguments=quiet).execute()
    settings = Config(
        {"ExtractOutputPreprocessor": {"output_filename_template": notebook.stem + "-{cell_index}-{index}{extension}"}}
    )
    body, made = MarkdownExporter(config=settings).from_notebook_node(content)
    pages.mkdir(parents=True, exist_ok=True)
    for name, picture in made["outputs"].items():
        (pages / name).write_bytes(picture)
    body = body.replace("![png]", "![What the cell above draws]")
    source = address(f"docs/gallery/{notebook.name}", to=repository())
    (pages / f"{notebook.stem}.md").write_text(f"{body}\n[This page as a notebook]({source})\n", encoding="utf-8")


def main() -> None:
    """Run what has changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--again", action="store_true", help="run the notebooks that have not changed, too")
    again = parser.parse_args().again
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = PAGES / f"{notebook.stem}.md"
        if again or not page.is_file() or page.stat().st_mtime < notebook.stat().st_mtime:
            start = time.perf_counter()
            run(notebook, PAGES)
            sys.stdout.write(f"{notebook.name}: {time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    main()
