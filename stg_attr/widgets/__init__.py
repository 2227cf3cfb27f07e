"""Widgets: explore, compare and watch explanations in a notebook, and on pages that need no kernel."""

try:
    import anywidget  # noqa: F401
    import ipywidgets  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"stg_attr.widgets needs {error.name}: pip install 'stg_attr[widgets]'", name=error.name
    ) from error

from .explorer import Explorer, compare, explore
from .live import Pace, watch
from .views import ImageView, SeriesView, TableView, TextView, View
from .workbench import Run, Workbench

__all__ = [
    "Explorer",
    "ImageView",
    "Pace",
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
