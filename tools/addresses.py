"""Relative links made absolute: for the package's long description, and for the site.

`[project.urls]` of pyproject.toml says where the repository is. Nothing else does.
"""

import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"""(\]\(|\b(?:src|srcset|href)=")([^)"#\s]+)((?:\#[^)"\s]*)?[)"])""")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|/|<")


def repository(root: Path = ROOT) -> str:
    """Return the address of the repository, which pyproject.toml says."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return str(settings["project"]["urls"]["Repository"]).rstrip("/")


def address(path: str, *, root: Path = ROOT, to: str) -> str:
    """Return the address of a file or a folder of the repository; pictures as they are, other files on their page.

    Example:
        >>> address("LICENSE", to="https://example.org/us")
        'https://example.org/us/blob/main/LICENSE'
        >>> address("experiments/study", to="https://example.org/us")
        'https://example.org/us/tree/main/experiments/study'
    """
    kind = "tree" if (root / path).is_dir() else "raw" if path.endswith((".svg", ".png")) else "blob"
    return f"{to}/{kind}/main/{path}"


def links(markdown: str, folder: str) -> Iterator[str]:
    """Return the paths that a page links to within the repository, `folder` being where the page is."""
    for match in LINK.finditer(markdown):
        if not ELSEWHERE.match(match[2]):
            yield posixpath.normpath(posixpath.join(folder, match[2]))


def rewritten(markdown: str, folder: str, new: Callable[[str], str | None]) -> str:
    """Return a page with other links.

    Args:
        markdown: The page.
        folder: Where it is within the repository.
        new: Gets a path within the repository. Returns the new link, or None to leave it as it is.
    """

    def link(match: re.Match[str]) -> str:
        if ELSEWHERE.match(match[2]):
            return match[0]
        found = new(posixpath.normpath(posixpath.join(folder, match[2])))
        return match[0] if found is None else f"{match[1]}{found}{match[3]}"

    return LINK.sub(link, markdown)


class Readme(MetadataHookInterface):
    """The package's long description is README.md, with absolute links: an index shows it without the repository."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme of the package that is built."""
        root = Path(self.root)
        to = repository(root)
        text = (root / "README.md").read_text(encoding="utf-8")
        whole = rewritten(text, "", lambda path: address(path, root=root, to=to))
        metadata["readme"] = {"content-type": "text/markdown", "text": whole}
