from io import StringIO

from emprune_lab.commands.consoles import literal_console
from emprune_lab.commands.progress import reporter, timing
from emprune_lab.training.speed import NUM_TIMED_STEPS

RECORD = {"epoch": 0, "num_kept": 48, "visits": 48, "loss": 1.25, "seconds": 0.5, "test_accuracy": 81.5}


def shown(*, terminal: bool) -> str:
    text = StringIO()
    with reporter(literal_console(file=text, force_terminal=terminal, width=120)) as report:
        report.begin(num_epochs=2, planned_visits=96, visits_done=16)
        report.step(32)
        report.epoch(RECORD)
        report.remark("[checkpoint.pt] is damaged.")
    return text.getvalue()


def test_without_a_terminal_there_is_a_plain_line_for_each_epoch() -> None:
    assert shown(terminal=False).splitlines() == [
        "2 epochs, 96 visits planned, 16 of them done",
        "epoch 1/2  kept 48  loss 1.2500  test 81.50 %  0.5 s",
        "[checkpoint.pt] is damaged.",
    ]


def test_a_terminal_gets_a_bar_with_epoch_kept_loss_and_accuracy() -> None:
    text = shown(terminal=True)
    for part in ("epoch 1/2", "kept 48", "loss 1.250", "test 81.50 %", "time left", "[checkpoint.pt] is damaged."):
        assert part in text


def test_a_terminal_gets_a_bar_while_steps_are_timed() -> None:
    text = StringIO()
    with timing(literal_console(file=text, force_terminal=True, width=120), "emp") as step:
        prepared = text.getvalue()
        for _ in range(NUM_TIMED_STEPS):
            step()
    assert "preparing" in prepared
    assert all(part in text.getvalue() for part in ("timing", "emp", "time left"))
