"""Whole messages stand in `messages.txt`: rewording one costs one line. A test names error, parameter and value:

    def test_keep_above_one(raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="keep", value=30):
            emprune.DataPruner(emprune.EMP(), num_samples=10, num_epochs=4, keep=30)

`pytest --update-messages` writes what the tests of that run have shown; the diff is there to be read. This module is a
pytest plugin, which the root's conftest.py loads.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

Error = TypeVar("Error", bound=BaseException)
ByTest = dict[str, set[str]]
"""The messages that each test shows, by its id."""

FILE = Path("tests/messages.txt")
HEADER = """\
# Every message that a test shows, word for word, and below it the tests that show it.
# `pytest --update-messages` rewrites this file: review its diff.
"""
HOW = "If this is meant: pytest --update-messages"
ANY = object()


def read(text: str) -> ByTest:
    """Return the messages in a snapshot file's text, by test."""
    by_test: ByTest = {}
    message = ""
    for line in text.split("\n"):
        if line.startswith("    "):
            by_test.setdefault(line.strip(), set()).add(message)
        elif line and not line.startswith("# "):
            message = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], line)
    return by_test


def written(by_test: Mapping[str, Collection[str]]) -> str:
    """Return the snapshot file's text: a message stands once, in the order of the first test that shows it."""
    tests: dict[str, list[str]] = {}
    for test in sorted(by_test):
        for message in sorted(by_test[test]):
            tests.setdefault(message.replace("\\", "\\\\").replace("\n", "\\n"), []).append(test)
    blocks = ["".join([f"{message}\n", *(f"    {test}\n" for test in tests[message])]) for message in tests]
    return "\n".join([HEADER, *blocks])


class Snapshots:
    """What the file says, and what the tests of this run have shown."""

    def __init__(self, root: Path, *, updating: bool) -> None:
        self.root, self.updating = root, updating
        self.known = read((root / FILE).read_text(encoding="utf-8")) if (root / FILE).exists() else {}
        self.changes: dict[str, list[str]] = {}
        self.stale: list[str] = []
        self._showing: ByTest = {}

    def show(self, test: str, message: str) -> None:
        """Take note of a message; one that the file does not have fails the test."""
        __tracebackhide__ = True
        self._showing.setdefault(test, set()).add(message)
        known = self.known.get(test, set())
        if message not in known and not self.updating:
            differing = [*(f"- {line}" for line in sorted(known)), f"+ {message}"]
            pytest.fail("\n".join([f"A message differs from {FILE}:", *differing, HOW]))

    def end(self, test: str) -> None:
        """Take note that a test has passed; one that no longer shows a message of the file fails."""
        __tracebackhide__ = True
        shown, known = self._showing.pop(test, set()), self.known.get(test, set())
        if shown != known:
            self.changes[test] = sorted(shown)
            if not self.updating:
                pytest.fail("\n".join([f"{FILE} has what this test no longer shows:", *sorted(known - shown), HOW]))

    def find_stale(self, collected: Collection[str]) -> None:
        """Find the tests of the file that are no more, given all tests of some whole files."""
        files = {test.partition("::")[0] for test in collected}
        for test in self.known.keys() - set(collected):
            file = test.partition("::")[0]
            if file in files or not (self.root / file).exists():
                self.stale.append(test)
                self.changes[test] = []

    def save(self) -> None:
        """Rewrite the file by what has changed."""
        if self.changes:
            (self.root / FILE).write_text(written({**self.known, **self.changes}), encoding="utf-8")


class Raises:
    """``with raises(ConfigError, parameter="keep", value=30):`` in place of ``pytest.raises``, for whole messages."""

    def __init__(self, snapshots: Snapshots, test: str, hidden: Mapping[str, str]) -> None:
        self._snapshots, self._test, self._hidden = snapshots, test, hidden

    @contextmanager
    def __call__(
        self, error: type[Error], *, parameter: str | None = None, value: Any = ANY
    ) -> Iterator[pytest.ExceptionInfo[Error]]:
        """Check the error's type, the parameter in backticks, the value, and then the whole message."""
        __tracebackhide__ = True
        with pytest.raises(error) as caught:
            yield caught
        self.message(str(caught.value), parameter=parameter, value=value, kind=type(caught.value).__name__)

    def message(self, text: str, *, parameter: str | None = None, value: Any = ANY, kind: str = "text") -> None:
        """Check a message that was caught elsewhere: on another rank, as a warning, in what a command printed."""
        __tracebackhide__ = True
        if " in DataLoader worker process " in text:  # torch puts the worker's traceback before the message
            text = text.rpartition(f"{kind}: ")[2].rstrip()
        for path, name in self._hidden.items():
            text = text.replace(path, name)
        if parameter is not None and f"`{parameter}`" not in text:
            pytest.fail(f"The message does not name `{parameter}` in backticks: {text}")
        if value is not ANY and not any(_shows(text, form) for form in (repr(value), str(value))):
            pytest.fail(f"The message does not show the value {value!r}: {text}")
        self._snapshots.show(self._test, f"{kind}: {text}")


def _shows(text: str, value: str) -> bool:
    """Tell whether a value stands in the text as itself: the 4 of "0.4" or "14" is none."""
    return re.search(rf"(?<![\w.]){re.escape(value)}(?!\w|\.\d)", text) is not None


SNAPSHOTS = pytest.StashKey[Snapshots]()


@pytest.fixture
def raises(request: pytest.FixtureRequest) -> Raises:
    """What a test writes in place of ``pytest.raises``, so that the whole message is looked at."""
    hidden = {str(request.getfixturevalue("tmp_path")): "TMP"} if "tmp_path" in request.fixturenames else {}
    return Raises(request.config.stash[SNAPSHOTS], request.node.nodeid, hidden)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-messages", action="store_true", help=f"rewrite {FILE} by what the tests show")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SNAPSHOTS] = Snapshots(config.rootpath, updating=config.getoption("--update-messages"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not any("::" in argument for argument in config.args) and not config.getoption("lf", False):
        config.stash[SNAPSHOTS].find_stale({item.nodeid for item in items})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    item.config.stash[SNAPSHOTS].end(item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist has seen."""
    node.config.stash[SNAPSHOTS].changes.update(getattr(node, "workeroutput", {}).get("messages", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    snapshots = session.config.stash[SNAPSHOTS]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["messages"] = snapshots.changes
    elif snapshots.updating:
        snapshots.save()
