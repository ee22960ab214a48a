"""The table of what short runs choose by scores is what the engine plans."""

from pathlib import Path

import emprune
from benchmarks.chosen import chosen_per_epoch, table

METHODS_PAGE = Path(__file__).parents[1] / "docs/methods/index.md"


def test_the_docs_have_the_table_that_the_command_prints() -> None:
    lines = "\n".join(table([0.1, 0.3, 0.5], [1, 2, 3, 4, 5], num_samples=1000))
    assert lines in METHODS_PAGE.read_text(encoding="utf-8")


def test_a_warm_up_moves_the_choice_to_the_second_epoch_and_changes_no_number() -> None:
    plain, warm = (
        chosen_per_epoch(
            emprune.DataPruner("order-dp", num_samples=100, num_epochs=4, keep=0.5, warmup_epochs=warmup_epochs)
        )
        for warmup_epochs in (0, 1)
    )
    assert plain == ([0, 0, 50, 50], 200)
    assert warm == ([0, 33, 33, 34], 200)
