"""What the numbers of a study say: statistics, verdicts, figures, report. No torch, no SQL, no Ray."""

from workers.analysis.figures import FIGURE_NAMES
from workers.analysis.report import StudyReport, analyse, ranking_table
from workers.analysis.survival import steps_to_target
from workers.analysis.trial_events import trial_events
from workers.analysis.writing import figure, figure_png, figure_svg, write_report

__all__ = [
    "FIGURE_NAMES",
    "StudyReport",
    "analyse",
    "figure",
    "figure_png",
    "figure_svg",
    "ranking_table",
    "steps_to_target",
    "trial_events",
    "write_report",
]
