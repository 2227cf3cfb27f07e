"""What a solve returns: data only, with the evidence, in memory and in files."""

from .explanation import Explanation, Question
from .layout import lay_out
from .records import Certificate, Curve, Restarts, Scores, Status, SufficientSets
from .resumed import check_same_question, check_same_scores, in_words
from .settings import PlanSettings, ReadingSettings, Settings
from .showing import show_with
from .stopped import stopped_by, warn_about

__all__ = [
    "Certificate",
    "Curve",
    "Explanation",
    "PlanSettings",
    "Question",
    "ReadingSettings",
    "Restarts",
    "Scores",
    "Settings",
    "Status",
    "SufficientSets",
    "check_same_question",
    "check_same_scores",
    "in_words",
    "lay_out",
    "show_with",
    "stopped_by",
    "warn_about",
]
