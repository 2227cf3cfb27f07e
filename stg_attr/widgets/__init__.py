"""Widgets: explanations to explore, compare and watch in a notebook, and on pages that stand alone."""

try:
    import anywidget  # noqa: F401
    import ipywidgets  # noqa: F401
except ImportError as error:  # pragma: no cover  # the tests have them
    raise ImportError("stg_attr.widgets needs ipywidgets: pip install 'stg_attr[widgets]'") from error

from .explorer import Explorer, compare, explore
from .live import watch
from .views import ImageView, SeriesView, TableView, TextView, View
from .workbench import Run, Workbench

__all__ = [
    "Explorer",
    "ImageView",
    "Run",
    "SeriesView",
    "TableView",
    "TextView",
    "View",
    "Workbench",
    "compare",
    "explore",
    "watch",
]
