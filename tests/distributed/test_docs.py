"""The snippets of docs/guides/ranks.md, run by two ranks in one namespace as a reader would."""

import contextlib
from pathlib import Path
from unittest import mock

import pytest
import torch
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.distributed.pool import RankPool

pytestmark = pytest.mark.distributed
PAGE = Path(__file__).resolve().parents[2] / "docs/guides/ranks.md"


def follow(snippets: list[str], folder: str) -> int:
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    there_is_one = mock.patch("torch.distributed.init_process_group")
    with contextlib.chdir(folder), there_is_one:
        for snippet in snippets:
            exec(snippet, namespace)
    return len(snippets)


def test_the_page_holds_on_two_ranks(ranks: RankPool, tmp_path: Path) -> None:
    parser = CodeBlockParser(language="python", evaluator=lambda example: None)
    document = Document.parse(str(PAGE), parser)
    snippets = [str(example.parsed) for example in document.examples()]
    assert ranks.run(follow, snippets, str(tmp_path)) == [len(snippets)] * 2
    assert len(snippets) >= 4
