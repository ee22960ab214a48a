"""What finished runs say beyond their accuracy, one analysis a file, and their registry. A new one is a line below."""

from emprune.lab.analyses.alignment_gap import AlignmentGap
from emprune.lab.analyses.base import Analysis, Conclusion
from emprune.lab.analyses.leave_one_out import LeaveOneOut
from emprune.lab.analyses.loss_curves import LossCurves
from emprune.lab.analyses.memorization import Memorization
from emprune.lab.analyses.runs import Run
from emprune.lab.analyses.static_removal import StaticRemoval
from emprune.lab.analyses.theorem_1 import Theorem1
from emprune.lab.analyses.visits import Visits

__all__ = ["ANALYSES", "Analysis", "Conclusion", "Run"]

ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (Visits(), LossCurves(), LeaveOneOut(), StaticRemoval(), Theorem1(), Memorization(), AlignmentGap())
}
