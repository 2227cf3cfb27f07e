"""Pictures of explanations: images, text, tables, time series and curves."""

try:
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
except ImportError as error:  # pragma: no cover  # the tests have it
    raise ImportError(f"stg_attr.viz needs {error.name}: pip install 'stg_attr[viz]'") from error

from .before import preview
from .by_layer import components
from .curves import curve, trace
from .dataset import beeswarm, importance, matrix
from .effects import scatter
from .image import contour, heatmap, kept, overlay, removed, superpixels
from .methods import comparison
from .notebook import html
from .panels import grid, panel, strip
from .passages import Text, text
from .picture import Picture
from .restarts import frequency
from .tabular import bars, waterfall
from .timeline import series

__all__ = [
    "Picture",
    "Text",
    "bars",
    "beeswarm",
    "comparison",
    "components",
    "contour",
    "curve",
    "frequency",
    "grid",
    "heatmap",
    "html",
    "importance",
    "kept",
    "matrix",
    "overlay",
    "panel",
    "preview",
    "removed",
    "scatter",
    "series",
    "strip",
    "superpixels",
    "text",
    "trace",
    "waterfall",
]
