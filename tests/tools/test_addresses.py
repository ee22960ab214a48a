"""Links for readers without the repository, and the one setting that holds its address."""

import re
from pathlib import Path

import pytest

from tools.addresses import ROOT, Readme, links, repository, rewritten

US = re.compile(r"https://github\.com/[\w.-]+/emprune\b(?!-)")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "lab/README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def test_every_mention_of_the_repository_is_the_setting_s() -> None:
    mentioned = {address for page in PAGES for address in US.findall(page.read_text(encoding="utf-8"))}
    assert mentioned == {repository()}


def test_the_readme_of_the_package_links_to_the_repository_alone(tmp_path: Path) -> None:
    metadata: dict[str, dict[str, str]] = {}
    Readme(str(ROOT), {}).update(metadata)
    text = metadata["readme"]["text"]
    assert list(links(text, "")) == []
    assert f'src="{repository()}/raw/main/docs/evidence/accuracy-against-time-light.svg"' in text
    assert f"]({repository()}/blob/main/docs/start/index.md)" in text


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md"])
def test_what_a_page_outside_the_site_links_to_is_there(name: str) -> None:
    page = ROOT / name
    missing = [
        path for path in links(page.read_text(encoding="utf-8"), str(Path(name).parent)) if not (ROOT / path).exists()
    ]
    assert missing == []


def test_anchors_addresses_and_links_that_are_left_stay_as_they_are() -> None:
    page = '[a](#here) [b](https://example.org/x) [c](../up.md#part) <img src="near.png">'
    new = rewritten(page, "docs/guides", lambda path: "NEW" if path == "docs/up.md" else None)
    assert new == '[a](#here) [b](https://example.org/x) [c](NEW#part) <img src="near.png">'


def test_the_readme_is_short_and_its_diff_fits_a_narrow_window() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    start = lines.index("```diff")
    diff = lines[start : lines.index("```", start)]
    assert max(map(len, diff)) <= 80
