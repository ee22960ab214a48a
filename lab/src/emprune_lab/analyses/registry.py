"""The analyses by their names. A new one is a file, its question in `questions`, and a line below."""

from emprune_lab.analyses.analysis import Analysis
from emprune_lab.analyses.frontier import Frontier
from emprune_lab.analyses.leave_one_out import LeaveOneOut
from emprune_lab.analyses.loss_curves import LossCurves
from emprune_lab.analyses.memorization import AlignmentGap, Memorization
from emprune_lab.analyses.static_removal import StaticRemoval
from emprune_lab.analyses.theorem_1 import Theorem1
from emprune_lab.analyses.visits import Visits

__all__ = ["ANALYSES"]

ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        Frontier(),
        Visits(),
        LossCurves(),
        LeaveOneOut(),
        StaticRemoval(),
        Theorem1(),
        Memorization(),
        AlignmentGap(),
    )
}
