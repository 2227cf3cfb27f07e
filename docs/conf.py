"""Sphinx configuration: `python run.py docs` builds the site into docs/_build, without a network."""

import json
import shutil
import sys
from pathlib import Path

from stg_attr.widgets.page import cell_output

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "site_parts"))

project = "stg_attr"
author = "The stg_attr developers"
copyright = "2026, the stg_attr developers"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",
    "breaks",
    "architecture",
    "docstrings",
    "links",
    "figures",
]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "stg_attr"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "install": []}  # they stand alone
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"

autodoc_typehints = "none"  # the docstrings give types as shapes
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True  # attributes of a record as one list
napoleon_attr_annotations = False  # without their types, like parameters
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
suppress_warnings = ["myst.xref_missing"]  # links into the repository; the link check reports broken ones

highlight_language = "text"  # a block without a language is what code prints
nb_execution_mode = "off"  # notebooks come with their outputs: python run.py tutorials
nb_ipywidgets_js = {}  # nothing is fetched from elsewhere
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),
    ("html", "text/html", 0),
]

# notebooks live in tutorials/, beside their scripts; Sphinx reads below docs/ only
shutil.rmtree(HERE / "tutorials", ignore_errors=True)
(HERE / "tutorials").mkdir()
for notebook in sorted((HERE.parent / "tutorials").glob("*.ipynb")):
    shutil.copy(notebook, HERE / "tutorials")

# the widget of the first page: its data are in the repository, its scripts are those of the package
(HERE / "_build").mkdir(exist_ok=True)
(HERE / "_build" / "landing.html").write_text(
    cell_output(**json.loads((HERE / "widgets" / "landing.json").read_text(encoding="utf-8"))),
    encoding="utf-8",
)
