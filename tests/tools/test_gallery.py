"""A notebook becomes a page: it runs, its pictures lie beside the page, and an error in it ends the build."""

from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tools.gallery import NOTEBOOKS, PAGES, is_made, run


def notebook(folder: Path, *cells: str) -> Path:
    path = folder / "small.ipynb"
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(content, path)
    return path


@pytest.mark.slow
def test_a_notebook_s_page_has_what_its_cells_print_and_draw(tmp_path: Path) -> None:
    draw = "from IPython.display import SVG, display\ndisplay(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))"
    run(notebook(tmp_path, "print(6 * 7)", draw), tmp_path / "pages")
    page = (tmp_path / "pages/small.md").read_text()
    assert "    42\n" in page
    assert "](small-1-0.svg)" in page
    assert (tmp_path / "pages/small-1-0.svg").is_file()
    assert "/docs/gallery/small.ipynb)" in page


@pytest.mark.slow
def test_the_notebook_on_wrong_labels_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """For the site, where `make docs` has run it with this library; else here."""
    name = "bad-labels.ipynb"
    pages = PAGES if is_made(NOTEBOOKS / name) else tmp_path
    if pages == tmp_path:
        run(NOTEBOOKS / name, pages)
    page = (pages / "bad-labels.md").read_text()
    assert "215 of 1347 labels are wrong" in page
    assert "suspects corrected: 9" in page  # per cent of the held-out images
    assert len(list(pages.glob("bad-labels-*.png"))) == 2


@pytest.mark.slow
def test_a_cell_that_fails_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run(notebook(tmp_path, "1 / 0"), tmp_path)
