"""Run the notebooks of docs/gallery, and leave a page of each in build/gallery for the site.

`make docs` calls it. A cell that fails ends it with the cell's error. A notebook is not run again where neither it nor
the library has changed since its page was made; `--again` runs all of them.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
    for former in pages.glob(f"{notebook.stem}-[0-9]*"):
        former.unlink()
    for name, picture in made["outputs"].items():
        (pages / name).write_bytes(picture)
    body = body.replace("![png]", "![What the cell above draws]")
    source = address(f"docs/gallery/{notebook.name}", to=repository())
    (pages / f"{notebook.stem}.md").write_text(f"{body}\n[This page as a notebook]({source})\n", encoding="utf-8")


def is_made(notebook: Path) -> bool:
    """Whether the site has a page of a notebook, of this version of it and of the library."""
    page, made_of = PAGES / f"{notebook.stem}.md", [notebook, *(ROOT / "src").rglob("*.py")]
    return page.is_file() and page.stat().st_mtime > max(path.stat().st_mtime for path in made_of)


def timed(notebook: Path) -> float:
    """Run a notebook for the site; return the seconds it took."""
    start = time.perf_counter()
    run(notebook, PAGES)
    return time.perf_counter() - start


def main() -> None:
    """Run what has changed, as many notebooks at once as there are cores: each has a process, its kernel."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--again", action="store_true", help="run the notebooks that have not changed, too")
    again = parser.parse_args().again
    chosen = [notebook for notebook in sorted(NOTEBOOKS.glob("*.ipynb")) if again or not is_made(notebook)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for notebook, seconds in zip(chosen, pool.map(timed, chosen), strict=True):
            sys.stdout.write(f"{notebook.name}: {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
