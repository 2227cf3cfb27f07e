"""What a solve returns: data only, with the evidence, in memory and in files."""

from .columns import Column, Kind
from .explanation import Explanation, Question
from .layout import lay_out
from .names import as_feature_names, group_name, value_texts
from .population import Population
from .records import Certificate, Curve, Restarts, Scores, Status, SufficientSets
from .resumed import check_same_scores, in_words, learned_before
from .settings import PlanSettings, ReadingSettings, Settings
from .showing import claim, percent, rounded, show_with, status_sentence, takes_away
from .stopped import stopped_by, warn_about
from .tokens import texts_of_features
from .visible import replace_invisible

__all__ = [
    "Certificate",
    "Column",
    "Curve",
    "Explanation",
    "Kind",
    "PlanSettings",
    "Population",
    "Question",
    "ReadingSettings",
    "Restarts",
    "Scores",
    "Settings",
    "Status",
    "SufficientSets",
    "as_feature_names",
    "check_same_scores",
    "claim",
    "group_name",
    "in_words",
    "lay_out",
    "learned_before",
    "percent",
    "replace_invisible",
    "rounded",
    "show_with",
    "status_sentence",
    "stopped_by",
    "takes_away",
    "texts_of_features",
    "value_texts",
    "warn_about",
]
