"""What `make docs` adds to mkdocs: the repository's address, links out of docs/, pictures, notebooks, and checks.

A page may link to any file of the repository by its relative path, as it does on a disk. On the site these links lead
to the repository. A file that is not there is a warning, which `--strict` makes an error. The built site loads nothing
from other servers, and has all that it links to. `external-links.txt` in it lists every other address.
"""

import logging
import posixpath
import re
from collections import defaultdict
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from tools.addresses import ROOT, address, repository, rewritten

log = logging.getLogger("mkdocs.plugins.site")
GALLERY = ROOT / "build/gallery"
"""Where tools/gallery.py leaves the pages of the notebooks, and their pictures."""

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc(?:set)?="?(https?:)?//"""
    r"""|<link\b(?=[^>]*\brel="?(?:stylesheet|preload|preconnect|icon))[^>]*\bhref="?(https?:)?//"""
)
PICTURE = re.compile(r'<picture>\s*<source[^>]*srcset="([^"]+)">\s*<img src="([^"]+)" alt="([^"]+)">\s*</picture>')
INTERNAL = re.compile(r"""<[^>]*\b(?:href|src)="?(?!https?:|mailto:|data:|javascript:|#)([^\s">#?]+)""")
EXTERNAL = re.compile(r"""\bhref="?(https?://[^\s">]+)""")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say where the repository is."""
    config.repo_url = repository()
    config.repo_name = "/".join(config.repo_url.split("/")[-2:])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the notebooks, and their pictures."""
    for notebook in sorted(Path(config.docs_dir, "gallery").glob("*.ipynb")):
        if not (GALLERY / f"{notebook.stem}.md").is_file():
            log.warning("docs/gallery/%s has no page yet. Run `make docs`, which runs the notebook.", notebook.name)
    for path in sorted(GALLERY.glob("*")):
        added = File.generated(config, f"gallery/{path.name}", abs_src_path=str(path))
        added.inclusion = InclusionLevel.NOT_IN_NAV  # the gallery's first page shows them
        files.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to the repository, and to notebooks to their pages; show pictures in two colours."""
    to, folder = str(config.repo_url), posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def new(path: str) -> str | None:
        if path.startswith("docs/gallery/") and path.endswith(".ipynb"):
            return posixpath.relpath(path, folder).replace(".ipynb", ".md")
        if path.startswith("docs/"):
            return None
        if not (ROOT / path).exists():
            log.warning("docs/%s links to %s, and there is no such file.", page.file.src_uri, path)
        return address(path, to=to)

    markdown = PICTURE.sub(in_two_colours, markdown)
    return rewritten(markdown, folder, new)


def in_two_colours(match: re.Match[str]) -> str:
    """Return a `<picture>` as two pictures of Markdown, whose links mkdocs checks; site.css shows one of them."""
    dark, light, words = match.groups()
    words = " ".join(words.split())
    return f"![{words}]({light}){{ .only-light }} ![{words}]({dark}){{ .only-dark }}"


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from another server or links to what it lacks; list its external links."""
    site, found = Path(config.site_dir), defaultdict(set)
    for path in sorted(site.rglob("*.html")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(site).as_posix()
        if loaded := LOADED.search(text):
            raise PluginError(f"{name} loads from another server: {loaded[0]}")
        for link in INTERNAL.findall(text) if path.name != "404.html" else ():
            if not (path.parent / link).exists():
                raise PluginError(f"{name} links to {link}, which the site does not have")
        for link in EXTERNAL.findall(text):
            found[link].add(name)
    lines = [f"{link}  {len(pages)} page(s), such as {min(pages)}" for link, pages in sorted(found.items())]
    (site / "external-links.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.info("%d external links are listed in external-links.txt; nothing is loaded from other servers.", len(lines))
