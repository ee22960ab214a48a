"""What finished runs say beyond their accuracy, one analysis a file, and their registry. A new one is a line below."""

from emprune_lab.analyses.alignment_gap import AlignmentGap
from emprune_lab.analyses.analysis import Analysis, Conclusion
from emprune_lab.analyses.finished_run import Run
from emprune_lab.analyses.leave_one_out import LeaveOneOut
from emprune_lab.analyses.loss_curves import LossCurves
from emprune_lab.analyses.memorization import Memorization
from emprune_lab.analyses.static_removal import StaticRemoval
from emprune_lab.analyses.theorem_1 import Theorem1
from emprune_lab.analyses.visits import Visits

__all__ = ["ANALYSES", "Analysis", "Conclusion", "Run"]

ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (Visits(), LossCurves(), LeaveOneOut(), StaticRemoval(), Theorem1(), Memorization(), AlignmentGap())
}
