"""Sentences as a reader counts them: in pages, docstrings, messages and help texts."""

from pathlib import Path

import pytest

from tools.language import (
    Group,
    Sentence,
    complaints,
    docstring_sentences,
    groups,
    help_sentences,
    message_sentences,
    page_sentences,
    report,
    split,
)


def texts(sentences: list[Sentence]) -> list[str]:
    return [sentence.text for sentence in sentences]


def of(text: str) -> Sentence:
    return Sentence(text=text, path="some.md", line=1)


@pytest.mark.parametrize(
    "sentences",
    [
        ["A plan is global and the same on every rank.", "Each rank delivers its share of it."],
        ["It is the first implementation, with its baselines (InfoBatch, UCB, random, ...) behind one interface."],
        ["(Achille and Soatto; Harutyunyan et al. 2020).", "The first term belongs to the data."],
        ["`keep` is 0.3, e.g. in `a. b. C`.", "`tail_epochs` is an integer.", "emprune counts both."],
        ["Did you forget the ()?", "A pruning rate of 70 % is keep=0.3."],
        ['It reads "what has been learned."', "That is a reading."],
        ["**It is no win.**", "*Not worse than any*: shown in 50 of 70 runs."],
        ["H(y|x) = 0, and with it I(w; y|x) = 0.", "Taken literally, the memory is that of label noise."],
        ["It needs Python 3.11 or newer; see pyproject.toml, or i.e. Achille et al. (2018)."],
    ],
)
def test_sentences_end_at_their_full_stops(sentences: list[str]) -> None:
    assert split(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Save the pruner's state beside the model.", 7),
        ("Call `pruner.reduce(index, losses, logits)` once.", 3),
        ("H(a) − H(a | b) = I", 4),
        ("See https://arxiv.org/abs/2408.16031 first.", 2),
    ],
)
def test_words(text: str, count: int) -> None:
    assert of(text).num_words == count


def test_of_a_page_prose_counts_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading. With two\n\nA paragraph of\ntwo lines with [a link](https://x.org). And `code`.\n\n"
        "```python\nx = 1. # No sentence.\n```\n\n    E[x] = 1. Nor this.\n\n| a. | b |\n| -- | -- |\n| c. | d |\n\n"
        "- an item\n- a second.\n  Its end.\n\n1. One ![picture. Here](x.svg)<br>\n",
        encoding="utf-8",
    )
    found = page_sentences(page)
    assert texts(found) == [
        "A paragraph of two lines with a link.", "And `code`.", "an item", "a second.", "Its end.", "One",
    ]  # fmt: skip
    assert [sentence.line for sentence in found] == [3, 3, 16, 17, 17, 20]


MODULE = '''\
"""What the module is for."""

import warnings


def top_k(scores, k):
    """Return the k highest. Ties are broken at random.

    The variance is

        v = (1 - a) v + a d. No sentence.

    Args:
        scores: (N,) float, without NaN. Higher
            means keep.
        k, *more: How many.

    Returns:
        (k,) positions.

    Raises:
        ConfigError: Where k is above N.

    Example:
        >>> top_k([1.0], 1)
        [0]

    References:
        Auer et al., Finite-time Analysis.
    """
    if k < 0:
        raise ConfigError(f"`k` must be at least 0; got {k + 1}. " "Count again." + (" Twice." if k else ""))
    problem = emprune.errors.StateError("It is another's.")
    warnings.warn("It is slow.", stacklevel=2)
    print("Not this.")


@app.command()
def run(seed: Annotated[int, typer.Option(help="Runs of one seed start alike.")]):
    """Train once.

    [bold]Examples[/bold]

    emprune run digits --out runs/one
    """
'''


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "module.py"
    path.write_text(MODULE, encoding="utf-8")
    return path


def test_docstrings_are_read_without_heads_names_and_examples(module: Path) -> None:
    assert texts(docstring_sentences(module))[:-3] == [
        "What the module is for.", "Return the k highest.", "Ties are broken at random.", "The variance is",
        "(N,) float, without NaN.", "Higher means keep.", "How many.", "(k,) positions.", "Where k is above N.",
        "Auer et al., Finite-time Analysis.",
    ]  # fmt: skip


def test_messages_are_those_of_errors_and_warnings(module: Path) -> None:
    found = message_sentences(module)
    assert texts(found) == [
        "`k` must be at least 0; got {value}.", "Count again.", "Twice.", "It is another's.", "It is slow.",
    ]  # fmt: skip
    assert {sentence.line for sentence in found} == {
        number for number, line in enumerate(MODULE.splitlines(), 1) if "Error(" in line or "warn(" in line
    }


def test_help_is_that_of_options_and_commands(module: Path) -> None:
    assert texts(help_sentences(module)) == ["Train once.", "Examples", "Runs of one seed start alike."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It beats its Rivals, whose cost is equal.", ["rivals", "whose"]),
        ("All but for the place in the epoch.", ["but for", "place"]),
        ("It sorts in place, and takes place once, at `rival.place`.", []),
        ("The ranks are united in one displaced placeholder.", ["united"]),
    ],
)
def test_discouraged_words_in_prose(text: str, words: list[str]) -> None:
    assert sorted(of(text).discouraged()) == words


def test_a_file_s_faults_are_listed_with_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Short.\n\n{'word ' * 21}end.\n\nWhose?\n", encoding="utf-8")
    lines = list(complaints(page))
    assert lines == [f"{page}:3: 22 words: {'word ' * 21}end.", f"{page}:5: whose: Whose?"]


def test_the_table_has_the_percentile_and_the_longest() -> None:
    group = Group(name="a page", limit=20, sentences=[of("word " * count) for count in range(21, 1, -1)])
    lines = report([group], longest=2).splitlines()
    assert lines[1].split() == ["a", "page", "20", "11.5", "19", "1", "0"]
    assert [line.split()[0] for line in lines if "some.md" in line] == ["21", "20"]


def test_the_repository_s_own_report_fits_a_terminal() -> None:
    found = groups()
    assert {"README.md", "docs/theory/index.md", "docstrings, library", "messages, lab", "help texts"} <= {
        group.name for group in found if group.sentences
    }
    assert max(map(len, report(found, longest=3).splitlines())) <= 80


@pytest.mark.parametrize(("lengths", "hard"), [([22] * 10, False), ([23] * 10, True), ([5] * 8 + [38] * 2, True)])
def test_a_page_is_hard_where_its_sentences_are_above_the_aim_by_half(lengths: list[int], hard: bool) -> None:
    group = Group(name="a.md", limit=20, sentences=[of(" ".join(["word"] * length) + ".") for length in lengths])
    assert group.is_hard is hard
