"""What runs on random subsets say about memory, one analysis a file, and their registry."""

from emprune.lab.analyses.alignment_gap import ALIGNMENT_GAP
from emprune.lab.analyses.base import Analysis
from emprune.lab.analyses.memorization import MEMORIZATION
from emprune.lab.errors import unknown_name

__all__ = ["ANALYSES", "Analysis", "get_analysis"]

ANALYSES: dict[str, Analysis] = {analysis.name: analysis for analysis in (MEMORIZATION, ALIGNMENT_GAP)}


def get_analysis(name: str) -> Analysis:
    """Return the analysis of that name.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    if name not in ANALYSES:
        raise unknown_name("analysis", name, ANALYSES)
    return ANALYSES[name]
