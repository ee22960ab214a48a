"""The site's own part: which links leave the docs, what a page may load, and what the pages must name."""

from pathlib import Path

import pytest
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

from emprune import errors
from tools.addresses import ROOT
from tools.site import LOADED, PICTURE, in_two_colours, on_post_build


def built(folder: Path, page: str) -> MkDocsConfig:
    (folder / "index.html").write_text(page, encoding="utf-8")
    config = MkDocsConfig()
    config.site_dir = str(folder)
    return config


@pytest.mark.parametrize(
    "loading",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        '<link href="//example.org/x" rel=preconnect>',
        '<img alt="x" src="http://example.org/x.png">',
    ],
)
def test_a_page_that_loads_from_another_server_is_refused(loading: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="loads from another server"):
        on_post_build(built(tmp_path, loading))


def test_external_links_are_listed_and_allowed(tmp_path: Path) -> None:
    on_post_build(built(tmp_path, '<a href="https://example.org/a">a</a> <img src="index.html">'))
    assert (tmp_path / "external-links.txt").read_text() == "https://example.org/a  1 page(s), such as index.html\n"


def test_a_link_to_what_the_site_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    on_post_build(built(tmp_path, '<a href="there/">there</a> <a href="#part">here</a>'))
    with pytest.raises(PluginError, match=r"links to lost\.svg, which the site does not have"):
        on_post_build(built(tmp_path, '<img alt="a" src="lost.svg">'))


def test_a_picture_in_two_colours_becomes_two_whose_links_are_checked() -> None:
    picture = (
        '<picture>\n<source media="x" srcset="a-dark.svg">\n<img src="a-light.svg" alt="What\n it shows">\n</picture>'
    )
    two = "![What it shows](a-light.svg){ .only-light } ![What it shows](a-dark.svg){ .only-dark }"
    assert PICTURE.sub(in_two_colours, picture) == two


def test_a_picture_of_the_site_itself_is_no_other_server_s() -> None:
    assert not LOADED.search('<img src="../assets/a.svg"><script src="../x.js"></script>')


def test_every_error_has_a_part_of_the_troubleshooting_page() -> None:
    page = (ROOT / "docs/help/index.md").read_text(encoding="utf-8").splitlines()
    assert {f"## {name}" for name in errors.__all__ if name != "EmpruneError"} <= set(page)
