"""What other packages of stg_attr, such as the widgets, use to show the same examples in another way."""

from .features import Features, feature_names, feature_values, rows_of
from .markup import as_json, render
from .notebook import draws_image, draws_series, is_image
from .passages import own_tokens
from .pixels import ColourScale, Numbers, channel_axis
from .source import (
    Array,
    as_array,
    checked_explanation,
    checked_position,
    percent,
    read_example,
    replace_invisible,
)
from .timeline import time_first
from .words import Word, is_right_to_left, words_from_tokens

__all__ = [
    "Array",
    "ColourScale",
    "Features",
    "Numbers",
    "Word",
    "as_array",
    "as_json",
    "channel_axis",
    "checked_explanation",
    "checked_position",
    "draws_image",
    "draws_series",
    "feature_names",
    "feature_values",
    "is_image",
    "is_right_to_left",
    "own_tokens",
    "percent",
    "read_example",
    "render",
    "replace_invisible",
    "rows_of",
    "time_first",
    "words_from_tokens",
]
