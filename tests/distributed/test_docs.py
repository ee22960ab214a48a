"""The snippets of the guides for several ranks, run by two ranks in one namespace as a reader would."""

import contextlib
import subprocess
from pathlib import Path
from unittest import mock

import pytest
import torch
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.distributed.pool import RankPool

pytestmark = pytest.mark.distributed
GUIDES = Path(__file__).resolve().parents[2] / "docs/guides"


def follow(snippets: list[str], folder: str) -> int:
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    there_is_one = mock.patch("torch.distributed.init_process_group")
    with contextlib.chdir(folder), there_is_one:
        for snippet in snippets:
            exec(snippet, namespace)
    return len(snippets)


@pytest.mark.parametrize(("page", "least"), [("ranks", 4), ("slurm", 1)])
def test_a_guide_holds_on_two_ranks(page: str, least: int, ranks: RankPool, tmp_path: Path) -> None:
    parser = CodeBlockParser(language="python", evaluator=lambda example: None)
    document = Document.parse(str(GUIDES / f"{page}.md"), parser)
    snippets = [str(example.parsed) for example in document.examples()]
    assert ranks.run(follow, snippets, str(tmp_path)) == [len(snippets)] * 2
    assert len(snippets) >= least


def test_the_job_of_the_slurm_guide_is_a_script_that_bash_reads() -> None:
    page = (GUIDES / "slurm.md").read_text(encoding="utf-8")
    script = page.partition("```bash\n")[2].partition("```")[0]
    assert "#SBATCH --signal=TERM@" in script
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
