"""The frontier's figure: where its intervals and its curves end."""

from typing import Any

from emprune_lab.analyses.frontier import figure
from emprune_lab.comparison.curves import curves_of
from emprune_lab.results.record import RunRecord

from tests.lab.reports import record_of

REACHED = {"full": {1.0: (98.0, 100.0)}, "random-permutation": {0.1: (90.0, 99.0), 0.3: (96.0, 100.0)}}


def traces_of(method: str) -> list[Any]:
    """What is drawn of a method."""
    records = []
    for name, by_keep in REACHED.items():
        for keep, reached in by_keep.items():
            for seed, accuracy in enumerate(reached):
                found = record_of(name, seed, accuracy=accuracy)
                records.append(RunRecord(found.settings.replace(keep=keep), found.found))
    curves = curves_of(records)
    assert curves is not None
    drawn = figure(curves).drawing
    assert drawn is not None
    return [trace for trace in drawn.data if trace.meta == method]


def test_no_interval_of_an_accuracy_is_drawn_beyond_100_per_cent() -> None:
    points = traces_of("random-permutation")[0]
    ends = [mean + above for mean, above in zip(points.y, points.error_y.array, strict=True)]
    assert ends == [100, 100]
    assert max(max(edge.y) for edge in traces_of("full")) == 100


def test_a_curve_is_drawn_to_full_training_because_it_is_read_up_to_there() -> None:
    points, last = traces_of("random-permutation")
    assert (last.x, last.y) == ((points.x[-1], 1.0), (points.y[-1], 99.0))
    assert last.line.dash == points.line.dash
