"""Whole messages in one file: what passes, what fails, and what `--update-messages` writes."""

from pathlib import Path

import pytest

from tests import messages
from tests.messages import SNAPSHOTS

REPOSITORY = Path(__file__).parent.parent
TESTS = """
import pytest

@pytest.mark.parametrize("keep", [30, 1.5])
def test_keep(raises, keep):
    with raises(ValueError, parameter="keep", value=keep):
        raise ValueError(f"`keep` must be at most 1; got {keep}.")

def test_lines(raises, tmp_path):
    raises.message(f"a\\\\b in {tmp_path / 'file'}\\nsecond line", kind="warning")

def test_same(raises):
    for _ in range(2):
        with raises(ValueError):
            raise ValueError("`keep` must be at most 1; got 30.")
"""
SNAPSHOT = """\
ValueError: `keep` must be at most 1; got 1.5.
    test_some.py::test_keep[1.5]

ValueError: `keep` must be at most 1; got 30.
    test_some.py::test_keep[30]
    test_some.py::test_same

warning: a\\\\b in TMP/file\\nsecond line
    test_some.py::test_lines
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    pytester.makeini("[pytest]")
    pytester.makepyfile(test_some=TESTS)
    (pytester.path / "tests").mkdir()
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest("-p", "tests.messages", *arguments)


def update(project: pytest.Pytester, *arguments: str) -> str:
    run(project, "--update-messages", *arguments)
    return (project.path / messages.FILE).read_text(encoding="utf-8").removeprefix(messages.HEADER).lstrip("\n")


def change(project: pytest.Pytester, old: str, new: str) -> None:
    project.makepyfile(test_some=TESTS.replace(old, new))


def test_a_message_stands_once_with_the_tests_that_show_it(project: pytest.Pytester) -> None:
    assert update(project) == SNAPSHOT
    run(project).assert_outcomes(passed=4)


def test_workers_write_one_file(project: pytest.Pytester) -> None:
    process = project.runpytest_subprocess("-p", "tests.messages", "-n", "2", "--update-messages")
    process.assert_outcomes(passed=4)
    assert update(project, "-k", "none") == SNAPSHOT


def test_a_message_without_snapshot_fails(project: pytest.Pytester) -> None:
    result = run(project)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*+ ValueError: `keep` must be at most 1; got 30.", "*--update-messages*"])


def test_another_wording_fails_and_costs_a_line(project: pytest.Pytester) -> None:
    update(project)
    change(project, "at most 1; got 30", "no more than 1; got 30")
    result = run(project)
    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(["*- ValueError: `keep` must be at most*", "*+ ValueError: `keep` must be no more*"])
    change(project, "at most 1", "below 1.1")
    assert update(project) == SNAPSHOT.replace("at most 1", "below 1.1")


def test_a_message_that_is_no_longer_shown_fails(project: pytest.Pytester) -> None:
    update(project)
    change(project, "raises.message(", "(lambda *_, **__: None)(")
    result = run(project)
    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(["*no longer shows*", "*second line*"])


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("keep must be at most 1; got {keep}.", "does not name `keep`"),
        ("`keep` must be at most 1; got 0{keep}.", "does not show the value 30"),
        ("`keep` must be at most 1; got {keep}.5.", "does not show the value 30"),
    ],
)
def test_a_message_without_parameter_or_value_fails_also_when_updating(
    project: pytest.Pytester, message: str, complaint: str
) -> None:
    change(project, "`keep` must be at most 1; got {keep}.", message)
    result = run(project, "--update-messages", "-k", "test_keep and 30")
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines([f"*{complaint}*"])


def test_a_part_of_the_tests_rewrites_its_own_messages(project: pytest.Pytester) -> None:
    update(project)
    change(project, "at most 1", "below 1.1")
    text = update(project, "-k", "test_keep and 30")
    assert text.count("below 1.1") == 1
    assert text.count("at most 1") == 2


def test_a_failed_test_keeps_its_messages(project: pytest.Pytester) -> None:
    update(project)
    change(project, "for _ in range(2):", "raises.message('another')\n    assert False\n    if True:")
    assert update(project) == SNAPSHOT


def test_a_renamed_test_takes_its_messages_along(project: pytest.Pytester) -> None:
    update(project)
    change(project, "test_lines", "test_other")
    assert update(project) == SNAPSHOT.replace("test_lines", "test_other")


def test_every_message_belongs_to_a_test(request: pytest.FixtureRequest) -> None:
    assert request.config.stash[SNAPSHOTS].stale == [], messages.HOW
