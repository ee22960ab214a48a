"""How much can be left out so that nothing is lost, and what a method is worth at a cost.

Each method is run at several keeps, and full training beside them. The keep from which on a method stays within a
margin of full training is the lowest cost that loses nothing. What a method reaches at a keep, random permutation
reaches at another: that is the method's worth. The paper has neither number. Both are ours.
"""

from collections.abc import Iterator, Sequence

from emprune.errors import ConfigError
from emprune_lab.analyses.analysis import INTERVALS, Analysis, Conclusion
from emprune_lab.analyses.finished_run import FinishedRun
from emprune_lab.analyses.questions import FRONTIER
from emprune_lab.comparison.curves import NOTES, Curves, curves_of, curves_table
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.rows import scored_part
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.metrics import capital
from emprune_lab.pages.drawing import GREY, Drawing, Figure, colours

__all__ = ["Frontier"]

NEEDED = ("full", DEFAULT_BASELINE)


class Frontier(Analysis):
    """What methods reach at several keeps: the lowest that loses nothing, and what each is worth."""

    question = FRONTIER
    objective = None

    def check(self, experiment: Experiment) -> None:
        """Refuse runs without a curve of random permutation, or without full training at its end."""
        for method in NEEDED:
            if method not in map(str, experiment.specs):
                got = ", ".join(experiment.methods)
                raise ConfigError(f"`methods` must hold full and {DEFAULT_BASELINE}; got {got}. Add {method}.")
        keeps = experiment.settings["keep"]
        if not isinstance(keeps, list) or len(keeps) < 2:
            raise ConfigError(f"`keep` must be at least two values, such as 0.1,0.3; got keep={keeps!r}.")

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the curves."""
        results = [run.result for run in runs]
        curves = curves_of(results)
        assert curves is not None, "as `check` holds"
        found = {
            method: {
                "keeps": list(own),
                "scores": [curves.reached(method, keep) for keep in own],
                "worth": [curves.worth(method, keep) for keep in own],
                "loses_nothing_from": curves.loses_nothing_from(method),
            }
            for method, own in curves.scores.items()
        }
        return Conclusion(
            quantity="frontier: how much can be left out, and what is lost",
            methods={"full": {"scores": [curves.full_reached]}, **found},
            table=curves_table(curves),
            figures=[figure(curves)],
            remarks=[*answers(curves), *remarks(curves, scored_part(results))],
            shared={"margin": curves.margin},
        )


def answers(curves: Curves) -> Iterator[str]:
    """Say of each method from which keep on it loses nothing."""
    for method in curves.methods:
        keep = curves.enough_from(method)
        yield f"{method} loses at most {curves.margin:g} {curves.metric.points} from keep {keep} on."


def remarks(curves: Curves, part: str) -> Iterator[str]:
    """Say what the numbers are."""
    yield f"{capital(curves.metric.name)} on the {part} after the last epoch."
    yield f"{INTERVALS}; difference: to {DEFAULT_BASELINE} at the same keep, paired by seed."
    yield from NOTES


def figure(curves: Curves) -> Figure:
    """Return the score against the keep."""
    metric, styles = curves.metric, colours(["full", *curves.scores])
    bounds = {"y": (0, 100)} if metric.unit == "%" else {}
    axis = metric.axis(capital(metric.name))
    drawing = Drawing("keep, share of full training's visits", axis, styles, bounds=bounds)
    drawing.figure.update_yaxes(rangemode="normal")
    full = curves.full_reached
    ends = [min(curves.keeps), 1.0]
    drawing.level("full", ends, full.mean, full.low, full.high, hover=f"%{{y:.{metric.digits}f}}")
    drawing.figure.add_hline(
        y=full.mean - metric.better * curves.margin, line={"color": GREY, "dash": "dot", "width": 1.5}, layer="below"
    )
    for method, own in curves.scores.items():
        keeps = sorted(own)
        reached = [curves.reached(method, keep) for keep in keeps]
        hover = f"%{{y:.{metric.digits}f}} at keep %{{x:.3g}}"
        drawing.points(method, keeps, reached, hover=hover, dash=styles[method]["dash"])
        line = {"color": styles[method]["color"], "dash": styles[method]["dash"], "width": 1.4}
        drawing.trace(method, [keeps[-1], 1.0], [reached[-1].mean, full.mean], line=line)
    note = "Dashed: full training, in which each curve ends. Dotted: what counts as no loss. "
    note += "Bars are 95 % intervals over the seeds."
    return Figure("frontier", f"{capital(metric.name)} against keep", note, drawing.figure)
