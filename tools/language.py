"""How long the sentences of this repository are, and which discouraged words stand in them.

`make words` prints a table: the pages, then the docstrings, error messages and help texts of the source code.
`python -m tools.language FILE ...` lists every long sentence and every discouraged word of some files, with its line.

A sentence is prose: code blocks, tables, headings and addresses are left out. An item of a list is one
sentence or more. Code in backticks is one word, and so is a formatted value.
"""

import argparse
import ast
import inspect
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean
from textwrap import shorten, wrap

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md")
LIBRARY, LAB = "src/**/*.py", "lab/src/**/*.py"
DOCS_LIMIT, DOCSTRING_LIMIT, MESSAGE_LIMIT = 20, 25, 25
MEAN_AIM, PERCENTILE_AIM, TOLERANCE = 15, 25, 1.5
"""Words of a sentence, on average and of nine in ten; `make words` fails above the aim by half."""

WIDTH = 80

ABBREVIATIONS = re.compile(r"(^|\W)(e\.g|i\.e|cf|vs|al|etc|approx|resp|Eq|Fig|Sec|Tab)\.$")
BOUNDARY = re.compile(r"""[.!?]["'”)\]*]*(?=\s)""")
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
COMMAND = re.compile(r"(emprune|torchrun|python|make|pip) ")
SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Returns|References|Warns|Yields):$")
ENTRY = re.compile(r"(\s+)\*{0,2}[\w.]+(, \*{0,2}[\w.]+)*: ")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence, and where it stands."""

    text: str
    path: str
    line: int

    @property
    def num_words(self) -> int:
        """How many words it has: a formula's signs and addresses are none."""
        words = CODE.sub("code", self.text).split()
        return sum(re.search(r"\w", word) is not None and "://" not in word for word in words)

    def discouraged(self) -> list[str]:
        """Return the discouraged words in it, outside of code."""
        return [match[0].lower() for pattern in _discouraged() for match in pattern.finditer(CODE.sub("`", self.text))]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sentences that are measured together."""

    name: str
    limit: int
    sentences: Sequence[Sentence]

    @property
    def lengths(self) -> list[int]:
        """The words of each sentence, ascending; 0 where there are none."""
        return sorted(sentence.num_words for sentence in self.sentences) or [0]

    @property
    def percentile(self) -> int:
        """Nine in ten sentences have at most so many words."""
        return self.lengths[math.ceil(0.9 * len(self.lengths)) - 1]

    @property
    def is_hard(self) -> bool:
        """Whether its sentences are above the aim by half."""
        return mean(self.lengths) > TOLERANCE * MEAN_AIM or self.percentile > TOLERANCE * PERCENTILE_AIM

    def row(self) -> str:
        """Return the table's row: how many sentences, their lengths, how many are too long, discouraged words."""
        over = sum(length > self.limit for length in self.lengths)
        words = sum(len(sentence.discouraged()) for sentence in self.sentences)
        middle = f"{mean(self.lengths):>6.1f}{self.percentile:>5}"
        return f"{self.name:<37}{len(self.sentences):>10}{middle}{over:>9}{words:>12}"

    def longest(self, count: int) -> list[str]:
        """Return the longest sentences, a line each."""
        found = sorted(self.sentences, key=lambda sentence: -sentence.num_words)[:count]
        return [
            shorten(f"{it.num_words:>5}  {it.path}:{it.line}: {it.text}", WIDTH - 4, placeholder="...") for it in found
        ]


def split(text: str) -> list[str]:
    """Split a paragraph into sentences.

    Example:
        >>> split("See Achille et al. (2018). `keep` is 0.3, e.g. in `a. b`. emprune (at 10 %, ...) counts.")
        ['See Achille et al. (2018).', '`keep` is 0.3, e.g. in `a. b`.', 'emprune (at 10 %, ...) counts.']
    """
    hidden = CODE.sub(lambda match: re.sub(r"\s", "_", match[0]).replace(".", "_"), text)
    sentences, start = [], 0
    for match in BOUNDARY.finditer(hidden):
        before, after = hidden[start : match.start() + 1], hidden[match.end() :].lstrip()
        if not ABBREVIATIONS.search(before) and not (before.endswith("..") and after[:1].islower()):
            sentences.append(text[start : match.end()])
            start = match.end()
    sentences.append(text[start:])
    return [" ".join(sentence.split()) for sentence in sentences if re.search(r"\w", sentence)]


def prose(markdown: str) -> Iterator[tuple[int, str]]:
    """Return the paragraphs and the items of lists in a Markdown text, with their lines from 0."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    for before, token in pairwise(tokens):
        if token.type == "inline" and before.type == "paragraph_open" and token.map:
            yield token.map[0], "".join(map(_plain, token.children or []))


def _plain(token: Token) -> str:
    if token.type == "code_inline":
        return f"`{token.content}`"
    if token.type in {"softbreak", "hardbreak"}:
        return " "
    return token.content if token.type in {"text", "text_special"} else ""


def docstring_as_markdown(docstring: str) -> str:
    """Return a Google docstring's prose as Markdown, line for line: entries are items, heads and examples are gone."""
    lines, section = [], ""
    for line in docstring.splitlines():
        if head := SECTION.match(line):
            section = head[1]
            line = ""
        elif line and not line.startswith(" "):
            section = ""
        if section.startswith("Example") or line.lstrip().startswith((">>> ", "... ")):
            line = ""
        elif section:
            line = ENTRY.sub("- ", line) if ENTRY.match(line) else line.strip()
        lines.append(line)
    return "\n".join(lines)


def page_sentences(path: Path) -> list[Sentence]:
    """Return a page's sentences."""
    return list(_sentences(path, 1, path.read_text(encoding="utf-8")))


def docstring_sentences(path: Path) -> list[Sentence]:
    """Return the sentences of a module's docstrings."""
    found: list[Sentence] = []
    for node in _nodes(path):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            found += _sentences(path, node.body[0].lineno, docstring_as_markdown(text))
    return found


def message_sentences(path: Path) -> list[Sentence]:
    """Return the sentences of errors and warnings where they are made: ``SomeError("...")`` and ``warn("...")``."""
    found: list[Sentence] = []
    for node in _nodes(path):
        if isinstance(node, ast.Call) and re.search(r"(Error|Exit|Warning|\bwarn)$", ast.unparse(node.func)):
            for text in filter(None, map(_literal, node.args[:1])):
                found += [Sentence(text=it, path=_name(path), line=node.lineno) for it in split(text)]
    return found


def help_sentences(path: Path) -> list[Sentence]:
    """Return the sentences of what `--help` prints: arguments `help="..."` and the docstrings of commands."""
    found: list[Sentence] = []
    for node in _nodes(path):
        if isinstance(node, ast.keyword) and node.arg == "help" and (text := _literal(node.value)):
            found += _sentences(path, node.value.lineno, text)
        elif isinstance(node, ast.FunctionDef) and any(map(_is_command, node.decorator_list)):
            text = re.sub(r"\[/?bold\]", "", ast.get_docstring(node) or "")
            found += [it for it in _sentences(path, node.lineno, text) if not COMMAND.match(it.text)]
    return found


def _is_command(decorator: ast.expr) -> bool:
    return re.search(r"\.(command|callback)\b", ast.unparse(decorator)) is not None


def _literal(node: ast.expr) -> str:
    """Return a text as it stands in the code, a formatted value as one word; nothing where there is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) if isinstance(part, ast.Constant) else "{value}" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _literal(node.left) + _literal(node.right)
    return _literal(node.body) if isinstance(node, ast.IfExp) else ""


def _sentences(path: Path, first_line: int, markdown: str) -> Iterator[Sentence]:
    for line, paragraph in prose(inspect.cleandoc(markdown)):
        for text in split(paragraph):
            yield Sentence(text=text, path=_name(path), line=first_line + line)


def _nodes(path: Path) -> list[ast.AST]:
    """Return what a module consists of, by line."""
    return sorted(ast.walk(ast.parse(path.read_text(encoding="utf-8"))), key=lambda node: getattr(node, "lineno", 0))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


@cache
def _discouraged() -> list[re.Pattern[str]]:
    lines = (ROOT / "tools/discouraged.txt").read_text(encoding="utf-8").splitlines()
    patterns = [line.partition("\t")[0] for line in lines if not line.startswith("# ")]
    return [re.compile(rf"\b({pattern})\b", re.IGNORECASE) for pattern in patterns]


def groups() -> list[Group]:
    """Return what the table measures: each page, then the kinds of text in the library and in the lab."""
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    found = [Group(name=_name(path), limit=DOCS_LIMIT, sentences=page_sentences(path)) for path in pages]
    library, lab = (sorted(ROOT.glob(pattern)) for pattern in (LIBRARY, LAB))
    kinds: list[tuple[str, Callable[[Path], list[Sentence]], int]] = [
        ("docstrings", docstring_sentences, DOCSTRING_LIMIT),
        ("messages", message_sentences, MESSAGE_LIMIT),
    ]
    for name, read, limit in kinds:
        for part, paths in (("library", library), ("lab", lab)):
            found.append(Group(name=f"{name}, {part}", limit=limit, sentences=_of_all(read, paths)))
    return [*found, Group(name="help texts", limit=DOCS_LIMIT, sentences=_of_all(help_sentences, [*library, *lab]))]


def _of_all(read: Callable[[Path], list[Sentence]], paths: Iterable[Path]) -> list[Sentence]:
    return [sentence for path in paths for sentence in read(path)]


def report(found: Sequence[Group], *, longest: int) -> str:
    """Return the table, the longest sentences of each row, and the discouraged words."""
    head = f"{'':<37}{'sentences':>10}{'mean':>6}{'p90':>5}{'too long':>9}{'discouraged':>12}"
    words = Counter(word for group in found for sentence in group.sentences for word in sentence.discouraged())
    lines = [head, *(group.row() for group in found), "", "The longest sentences, in words:"]
    for group in found:
        lines += ["", group.name, *group.longest(longest)]
    counts = ", ".join(f"{word} {count}" for word, count in words.most_common())
    return "\n".join([*lines, "", *wrap(f"Discouraged words: {counts or 'none'}.", WIDTH)])


def complaints(path: Path) -> Iterator[str]:
    """Return a line for each sentence of a file that is too long or holds discouraged words."""
    if path.suffix == ".md":
        limited = [(page_sentences(path), DOCS_LIMIT)]
    else:
        limited = [(docstring_sentences(path), DOCSTRING_LIMIT), (message_sentences(path), MESSAGE_LIMIT)]
        limited.append((help_sentences(path), DOCS_LIMIT))
    for sentences, limit in limited:
        for it in sentences:
            faults = [f"{it.num_words} words"] * (it.num_words > limit) + it.discouraged()
            if faults:
                yield f"{it.path}:{it.line}: {', '.join(faults)}: {it.text}"


def main() -> None:
    """Print the table, or what is to be changed in some files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="list what is to be changed in these instead")
    parser.add_argument("--longest", type=int, default=3, help="how many of the longest sentences")
    arguments = parser.parse_args()
    if arguments.files:
        for path in arguments.files:
            sys.stdout.writelines(f"{line}\n" for line in complaints(path.resolve()))
    else:
        found = groups()
        sys.stdout.write(report(found, longest=arguments.longest) + "\n")
        hard = [group.name for group in found if group.is_hard]
        if hard:
            sys.exit(f"Too hard to read: {', '.join(hard)}. Shorten the longest sentences.")


if __name__ == "__main__":
    main()
