"""What a figure does not draw: intervals beyond what there can be, and sureness where there is no spread."""

import math
from pathlib import Path

import numpy as np
from emprune_lab.comparison.statistics import Estimate
from emprune_lab.pages.drawing import OPEN_NOTE, Drawing, Figure, colours
from emprune_lab.report.over_time import time_to_target
from emprune_lab.report.records import find_runs
from emprune_lab.report.sections import divide_runs

from tests.lab.reports import METHODS, write_comparison


def test_an_interval_ends_where_values_do() -> None:
    drawing = Drawing("x", "accuracy, %", colours(["emp"]), bounds={"y": (0, 100)})
    drawing.points("emp", [1, 2], [Estimate(97.0, 5.0, 3), Estimate(2.0, 4.0, 3)], hover="%{y}")
    drawing.band("emp", [1], np.array([[98.0], [100.0]]), hover="%{y}")
    drawing.level("emp", [0, 1], 99.0, 96.0, 102.0)
    points, *others = drawing.figure.data
    assert (list(points.error_y.array), list(points.error_y.arrayminus)) == ([3.0, 4.0], [5.0, 2.0])
    heights = [y for trace in others for y in trace.y]
    assert max(heights) == 100
    assert min(heights) >= 0


def test_a_mean_of_runs_that_are_all_equal_is_an_open_marker_and_says_so() -> None:
    drawing = Drawing("x", "y", colours(["emp"]))
    drawing.points(
        "emp", [1, 2, 3], [Estimate(1.0, 0.1, 3), Estimate(1.0, math.nan, 3), Estimate(1.0, math.nan, 1)], hover="%{y}"
    )
    (points,) = drawing.figure.data
    assert points.marker.symbol == ("circle", "circle-open", "circle")
    assert points.text == ("", ", all equal", "")
    assert Figure("name", "title", "A note.", drawing.figure).said == f"A note. {OPEN_NOTE}"


def test_thirty_methods_are_told_apart_without_their_colours() -> None:
    styles = colours(f"emp:beta={beta}" for beta in range(30))
    assert len({(style["dash"], style["symbol"]) for style in styles.values()}) == 31


def test_the_time_to_a_part_of_full_s_accuracy_is_the_first_that_was_measured(tmp_path: Path) -> None:
    write_comparison(tmp_path, seeds=[0, 1])
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    # of seeds 0 and 1 full ends at 84 and 84.7; the logs say 52, 67, 74.5 and 78.25, and one more, 2 s apart
    table = time_to_target(section.groups[0])
    assert table is not None
    assert table.heads == ["method", *(f"{part} % of full's, s" for part in (80, 90, 95, 99))]
    assert {row[0] for row in table.rows} == set(METHODS)
    for row in table.rows:
        assert row[1:] == ["5.0 ± 12.7", "8.0 (all equal)", "0 of 2 seeds", "0 of 2 seeds"]
    for file in tmp_path.rglob("log.jsonl"):
        file.unlink()
    (section,) = divide_runs(find_runs([tmp_path]).runs)
    assert time_to_target(section.groups[0]) is None
